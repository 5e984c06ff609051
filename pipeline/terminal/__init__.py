"""The user's side of a command: flags, one-line errors and exit statuses, Ctrl-C, and the progress of running trials.

Imported by: `session`, `planning`, `report`, `stages`, `reproduce`, `sweep_actions`, `sweep`, `train`, `promote`, `ui`,
`doctor`, `predict`, `compare`, `copy_store`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `trials`.
"""
