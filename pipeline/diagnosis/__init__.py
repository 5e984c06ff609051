"""What `pipeline.doctor` looks for and mends, with a module for each kind of thing that a killed command leaves behind.

The folder is not named after its command, `pipeline.doctor`, since it may not have the same name as that module.

Imported by: `doctor`.
Imports: `vit`, `errors`, `config`, `trials`, `cluster`, `tracking`, `registry`, `session`.
"""
