"""Computes how uncertain measured figures are: intervals of accuracies, two models on the same images, calibration.

Its functions take numbers and return numbers.

Imported by: `registry`, `page`, `session`, `promote`, `compare`.
Imports: nothing.
"""
