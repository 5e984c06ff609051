"""The command that compares trained models side by side.

`subjects` finds the runs that are meant. `evidence` reads what the tracking store has recorded of each. `comparison`
compares them, numbers in and numbers out. `tables` puts the result into words, for a terminal and as Markdown.

Imported by: nothing, being a command.
Imports: `vit`, `errors`, `config`, `statistics`, `trials`, `terminal`, `tracking`, `registry`.
"""
