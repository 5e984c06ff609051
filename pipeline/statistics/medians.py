"""Computes how far a median may be from the true median."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from pipeline.statistics.intervals import LEVEL, Interval


def median_interval(values: NDArray[np.float64]) -> Interval:
    """Returns an interval of at least 95% for the median, whatever the distribution of the values.

    Its ends are two of the sorted values. They follow from how many of N values lie below the true median, which has a
    binomial distribution (Conover 1999, section 3.2).

    Args:
        values: (N,); fewer than six values say nothing, and the interval is then infinite on both sides.
    """
    rank = int(binom.ppf((1 - LEVEL) / 2, len(values), 0.5))
    if rank == 0:
        return Interval(-np.inf, np.inf)
    ordered = np.sort(values)
    return Interval(float(ordered[rank - 1]), float(ordered[-rank]))
