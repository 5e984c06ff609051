"""What is concluded from trials: the leaderboard, the confirmed models, the audit, and what the stages give each other.

Pure values and functions of them, without Ray and MLflow.

Imported by: `session`, `planning`, `report`, `stages`, `train_actions`.
Imports: `vit`, `tune_spaces`, `trials`.
"""
