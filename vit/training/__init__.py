"""Trains one model: recipes, augmentation, the loop, several workers, precision. Imports `data` and `model`."""
