"""What only a GPU can show: ceilings, the compiled step, fused trainings, limits, and how good the recipes are.

Needs `vit`, torch (from 2.11 on) and numpy; real images need what `vit.data` reads them with, the last part `pipeline`.
"""
