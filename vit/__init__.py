"""A Vision Transformer trained from scratch: plain PyTorch, usable on its own, without Ray or MLflow.

`data` reads images, `model` is the network, `training` trains it, `fused` trains several models as one, `timing`
measures how long training takes, `files` saves and loads models. Each imports only folders named before it.

Imported by: `tune_spaces`, `errors`, `config`, `trials`, `results`, `terminal`, `tracking`, `training`, `search`,
`registry`, `page`, `session`, `planning`, `report`, `stages`, `train_actions`, `reproduce`, `sweep_actions`, `train`,
`promote`, `diagnosis`, `predict`, `compare`, `copy_store`.
Imports: nothing.
"""
