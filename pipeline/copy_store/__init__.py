"""The command that copies a personal tracking store into a team's server: rows from database to database, and files.

MLflow's own interfaces would give every copied run a new id, but stages, parent runs and models refer to each other by
id. So the rows themselves are copied, with MLflow's own table definitions. The source is only read.

Imported by: nothing.
Imports: `vit`, `errors`, `config`, `terminal`, `tracking`.
"""
