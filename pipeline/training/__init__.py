"""Trains in this process or on Ray Train's workers, such that a training can resume after its process has died.

The driver follows a training on workers by reading the training's folder.

Imported by: `search`, `session`, `planning`, `stages`, `train_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `cluster`, `tracking`.
"""
