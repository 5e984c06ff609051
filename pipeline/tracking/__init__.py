"""MLflow: its server, the one writer of runs, what a trial's run holds, weights and test set reads that it knows of.

Knows nothing of Ray.

Imported by: `graph`, `training`, `search`, `page`, `session`, `report`, `stages`, `train_actions`, `reproduce`,
`sweep_actions`, `sweep`, `train`, `promote`, `ui`, `diagnosis`, `doctor`, `predict`, `compare`, `copy_store`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `figures`.
"""
