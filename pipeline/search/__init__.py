"""The search: ASHA's stopping rule, the driver that hands out trials and stops them, and the links to Ray Tune.

`asha` and `driver` do not use Ray.

Imported by: `session`, `planning`, `stages`, `sweep_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `cluster`, `tracking`, `training`.
"""
