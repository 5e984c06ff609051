"""The command that copies a store of one's own into a team's server: rows from database to database, and files.

MLflow's own interfaces give every copied run a new id, and stages, parents and models refer to each other by ids. So
the rows themselves are copied, with MLflow's own table definitions. The source is only read.

Imported by: nothing.
Imports: `vit`, `errors`, `config`, `terminal`, `tracking`.
"""
