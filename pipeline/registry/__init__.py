"""Registers models in MLflow's model registry: writes their files, and keeps what was measured of each version.

Imported by: `session`, `report`, `stages`, `train_actions`, `reproduce`, `promote`, `diagnosis`, `compare`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `statistics`, `graph`.
"""
