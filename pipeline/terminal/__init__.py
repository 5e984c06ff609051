"""The user's side of a command: flags, one-line errors and exit statuses, Ctrl-C, what is printed while trials run.

Imported by: `session`, `planning`, `stages`, `sweep_actions`, `sweep`, `train`, `promote`, `ui`, `doctor`,
`copy_store`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `trials`.
"""
