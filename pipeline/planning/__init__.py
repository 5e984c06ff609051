"""What a sweep would take, before it runs, and making it fit into a time.

Imported by: `stages`, `sweep_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `trials`, `results`, `figures`, `terminal`, `cluster`, `graph`,
`search`, `session`.
"""
