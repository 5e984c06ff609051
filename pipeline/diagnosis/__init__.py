"""What `pipeline.doctor` looks for and mends, a file for each kind of thing that a killed command leaves.

Not named after its command, `pipeline.doctor`, since a folder may not have a module's name.

Imported by: `doctor`.
Imports: `vit`, `errors`, `config`, `trials`, `cluster`, `tracking`, `registry`, `session`.
"""
