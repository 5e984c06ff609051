"""Trials: ASHA's rungs, their records in memory, their files on disk, and the observers' interface.

Imported by: `results`, `figures`, `terminal`, `cluster`, `tracking`, `training`, `search`, `page`, `session`,
`planning`, `report`, `stages`, `train_actions`, `reproduce`, `promote`, `diagnosis`, `compare`.
Imports: `vit`, `tune_spaces`, `errors`.
"""
