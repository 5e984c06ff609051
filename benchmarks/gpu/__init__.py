"""Measures what only a GPU can show: ceilings, the compiled step, fused trainings, limits, and the recipes' accuracy.

Needs `vit`, torch (2.11 or later) and numpy. Real images also need the libraries by which `vit.data` reads them, and
the last part needs `pipeline`.
"""
