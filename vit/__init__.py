"""A Vision Transformer trained from scratch: plain PyTorch, usable on its own, without Ray or MLflow.

`data` reads images, `model` is the network, `training` trains it, `fused` trains many as one, `timing`
measures how long that takes, `files` keeps it. Each imports only those before it.

Imported by: `tune_spaces`, `config`, `trials`, `results`, `terminal`, `tracking`, `training`, `search`, `registry`,
`page`, `session`, `planning`, `report`, `stages`, `train_actions`, `reproduce`, `sweep_actions`, `train`, `promote`,
`diagnosis`, `predict`, `compare`, `copy_store`.
Imports: nothing, being a command.
"""
