"""What a sweep would take, before it runs, and making it fit into a time.

The stages and `pipeline.sweep` import this. It imports `session`, `graph` and `search.asha`.
"""
