"""A training that outlives its process: in this process, or on the workers of Ray Train, followed by its folder.

`search`, the sessions and the stages import this. It imports `cluster`, `tracking` and `trials`.
"""
