"""How far a mean over images may be from the true one: the bootstrap."""

import numpy as np
from numpy.typing import ArrayLike

from pipeline.statistics.intervals import LEVEL, Interval

_RESAMPLES = 20_000


def bootstrap_mean(values: ArrayLike, counts: ArrayLike) -> Interval:
    """95% of a mean over images, drawn with replacement (Efron & Tibshirani 1993). The seed is fixed.

    A draw is known by how many images of each value it holds, so it is drawn as just that.

    Args:
        values: (K,) the values that an image may have.
        counts: (K,) how many images have each; at least one in all.
    """
    weights = np.asarray(counts, dtype=np.float64)
    images = weights.sum()
    drawn = np.random.default_rng(0).multinomial(int(images), weights / images, _RESAMPLES)
    means = drawn @ np.asarray(values, dtype=np.float64) / images
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
