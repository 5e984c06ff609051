"""A training that outlives its process: in this process, or on the workers of Ray Train, followed by its folder.

Imported by: `search`, `session`, `stages`, `train_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `cluster`, `tracking`.
"""
