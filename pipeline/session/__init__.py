"""What the parts of one command share: its folder and the lock over it, its memory, its tools, its beginning and end.

`folder` and `lock` import no framework, for the doctor.

Imported by: `planning`, `report`, `stages`, `train_actions`, `reproduce`, `sweep_actions`, `train`, `promote`,
`diagnosis`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `statistics`, `trials`, `results`, `terminal`, `cluster`, `tracking`,
`graph`, `training`, `search`, `registry`.
"""
