"""Reads images: from names and paths to arrays with a validation split, a digest and a normalisation.

Imports nothing of `model`.
"""
