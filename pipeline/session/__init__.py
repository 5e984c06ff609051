"""What the parts of one command share: its folder and lock, its memory, its tools, and how it begins and ends.

`folder` and `lock` import no framework, because the doctor command uses these two.

Imported by: `planning`, `report`, `stages`, `train_actions`, `reproduce`, `sweep_actions`, `train`, `promote`,
`diagnosis`.
Imports: `vit`, `tune_spaces`, `errors`, `config`, `statistics`, `trials`, `results`, `terminal`, `cluster`, `tracking`,
`graph`, `training`, `search`, `registry`.
"""
