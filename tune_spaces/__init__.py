"""Search spaces as code, one file each; `catalogue` lists them, `space` draws their trials, `trial_spec` is one trial.

Only `trial_spec` does not need Ray.

Imported by: `trials`, `results`, `terminal`, `cluster`, `tracking`, `training`, `search`, `registry`, `session`,
`planning`, `report`, `stages`, `train_actions`, `reproduce`.
Imports: `vit`.
"""
