"""Saves and loads: files by path or URI, checkpoints, and the code that a registered model runs when it is loaded.

Imports `data` and `model`.
"""
