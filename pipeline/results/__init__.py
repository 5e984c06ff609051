"""Conclusions from trials: the leaderboard, the confirmed models, the audit's verdict, and the stages' outputs.

It consists of plain values and pure functions, which use neither Ray nor MLflow.

Imported by: `session`, `planning`, `report`, `stages`, `train_actions`.
Imports: `vit`, `tune_spaces`, `trials`.
"""
