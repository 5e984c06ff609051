"""Search spaces as code, one file each; `catalogue` names them, `space` draws their trials, `trial_spec` is a trial.

Only `trial_spec` does without Ray.

Imported by: `trials`, `results`, `terminal`, `cluster`, `tracking`, `training`, `search`, `registry`, `session`,
`planning`, `report`, `stages`, `train_actions`, `reproduce`.
Imports: `vit`.
"""
