"""The search: ASHA's judging, the driver that hands out trials and decides of them, Ray Tune around it, trial actors.

`asha` and `driver` know nothing of Ray.

Imported by: `planning`, `stages`, `sweep_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `cluster`, `tracking`, `training`.
"""
