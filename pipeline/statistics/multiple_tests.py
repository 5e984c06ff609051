"""Corrects p-values for the number of tests that were made."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for their number by Holm's method (Holm 1979, https://www.jstor.org/stable/4615733).

    If none of the differences were real, any of the adjusted p-values would be below 0.05 in at most 5% of the cases.
    """
    order = np.argsort(p_values)
    scaled = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(each) for each in adjusted]
