"""The command that retrains a registered version from its passport alone, and says whether the result is the same.

Imported by: nothing, being a command.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `trials`, `terminal`, `tracking`, `registry`, `session`,
`train_actions`.
"""
