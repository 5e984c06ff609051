"""The search: ASHA's stopping rule, the driver that hands out trials and decides on them, Ray Tune around it.

`asha` and `driver` know nothing of Ray.

Imported by: `session`, `planning`, `stages`, `sweep_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `cluster`, `tracking`, `training`.
"""
