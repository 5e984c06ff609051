"""Training: the recipe, augmentation, the loop, several workers, precision. Imports `data` and `model`."""
