"""Reports a sweep's result at its end: the summary as values, in words, as a page, in MLflow and on the terminal.

Imported by: `stages`, `sweep_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `trials`, `results`, `figures`, `terminal`, `tracking`,
`registry`, `page`, `session`.
"""
