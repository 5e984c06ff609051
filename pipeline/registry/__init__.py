"""MLflow's model registry: versions and what was measured of them, the files of a registered model.

Imported by: `session`, `report`, `stages`, `train_actions`, `reproduce`, `promote`, `diagnosis`, `compare`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `statistics`, `graph`.
"""
