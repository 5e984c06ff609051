"""The command that trains a registered version again, from its passport alone, and says whether it came out the same.

Imported by: nothing, being a command.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `trials`, `terminal`, `tracking`, `registry`, `session`,
`train_actions`.
"""
