"""Trains several models of one shape as one, with a row of each tensor for each model; also compiles a whole step.

The whole compiled step serves a single training, too. The idea of fusing is that of Hydro (Hu et al., OSDI 2023) and
HFTA (Wang et al., MLSys 2021, arXiv:2102.02344), but here it is applied to the one model of `vit.model`, by
`torch.func`. Imports `data`, `model` and `training`.
"""
