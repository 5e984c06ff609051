"""What a trial is to everybody: ASHA's rungs, its records in memory, its files, and who hears of it.

Everything that trains, searches, records or reports imports this. It imports only `pipeline.errors`, the search spaces
and `vit`.
"""
