"""What a trial is to everybody: ASHA's rungs, its records in memory, its files, and who hears of it.

Imported by: `results`, `figures`, `terminal`, `cluster`, `tracking`, `training`, `search`, `session`, `planning`,
`report`, `stages`, `train_actions`, `diagnosis`.
Imports: `vit`, `tune_spaces`, `errors`.
"""
