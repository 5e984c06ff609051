"""MLflow's model registry: versions and what was measured of them, the files of a registered model.

Imported by: `report`, `stages`, `train_actions`, `promote`, `diagnosis`.
Imports: `vit`, `errors`, `config`.
"""
