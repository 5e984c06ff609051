"""What `pipeline.doctor` looks for and mends, a file for each kind of thing that a killed command leaves.

(Not named after its command, since a folder may not have a module's name.) Only `pipeline.doctor` imports this. It
imports `session.folder` and `session.lock`, `registry`, `tracking`, `cluster` and `trials`.
"""
