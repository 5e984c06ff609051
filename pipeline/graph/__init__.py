"""A graph of stages: what each depends on, what of it has been computed before, and running the rest.

Knows nothing of Vision Transformers: what a stage does is a function that it is given. MLflow remembers the finished
stages.

Imported by: `registry`, `session`, `planning`, `stages`, `train_actions`, `sweep_actions`.
Imports: `errors`, `figures`, `tracking`.
"""
