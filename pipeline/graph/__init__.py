"""A graph of stages: what each depends on, which have been computed before, and running the others.

Nothing here depends on Vision Transformers: what a stage does is a function that is passed in. The finished stages are
remembered in MLflow.

Imported by: `registry`, `session`, `planning`, `stages`, `train_actions`, `sweep_actions`.
Imports: `errors`, `figures`, `tracking`.
"""
