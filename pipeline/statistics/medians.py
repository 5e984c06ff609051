"""How far a median may be from the true one."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from pipeline.statistics.intervals import LEVEL, Interval


def median_interval(values: NDArray[np.float64]) -> Interval:
    """At least 95% of the median: from one of the sorted values to another, whatever their distribution.

    By how many of N values lie below the true median, which is binomial (Conover 1999, section 3.2).

    Args:
        values: (N,); fewer than six tell nothing, and the interval has no ends.
    """
    rank = int(binom.ppf((1 - LEVEL) / 2, len(values), 0.5))
    if rank == 0:
        return Interval(-np.inf, np.inf)
    ordered = np.sort(values)
    return Interval(float(ordered[rank - 1]), float(ordered[-rank]))
