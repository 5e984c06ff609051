"""The command that lays trained models side by side.

`subjects`: which runs are meant. `evidence`: what the tracking store knows of each. `comparison`: what follows from it,
numbers in and numbers out. `tables`: the same in words, for a terminal and as Markdown.

Imported by: nothing, being a command.
Imports: `vit`, `errors`, `config`, `statistics`, `trials`, `terminal`, `tracking`, `registry`.
"""
