"""MLflow: its server, the one writer of runs, the trials' runs, and the weights and test set reads recorded there.

Nothing here depends on Ray.

Imported by: `graph`, `training`, `search`, `page`, `session`, `report`, `stages`, `train_actions`, `reproduce`,
`sweep_actions`, `sweep`, `train`, `promote`, `ui`, `diagnosis`, `doctor`, `predict`, `compare`, `copy_store`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `figures`.
"""
