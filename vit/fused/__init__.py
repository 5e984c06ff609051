"""Many trainings of one shape as one: what differs between them is a row of a tensor. Also the compiled step of one.

After Hydro (Hu et al., OSDI 2023) and HFTA (Wang et al., MLSys 2021, arXiv:2102.02344), but over the one model of
`vit.model`, by `torch.func`. Imports `data`, `model` and `training`.
"""
