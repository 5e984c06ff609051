"""Planning: estimates what a sweep would take before it runs (`--plan`), and makes it fit into a time (`--budget`).

Imported by: `stages`, `sweep_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `trials`, `results`, `figures`, `terminal`, `cluster`, `graph`,
`training`, `search`, `session`.
"""
