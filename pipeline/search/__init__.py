"""The search: ASHA's judging, the driver that hands out trials and decides of them, Ray Tune around it, trial actors.

`asha` and `driver` know nothing of Ray. The stages import this, and the plan for ASHA's rule. It imports `training`,
`tracking` and what lies below them.
"""
