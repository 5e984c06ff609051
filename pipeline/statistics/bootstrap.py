"""Computes by the bootstrap how far a mean over images may be from the true mean."""

import numpy as np
from numpy.typing import ArrayLike

from pipeline.statistics.intervals import LEVEL, Interval

_RESAMPLES = 20_000


def bootstrap_mean(values: ArrayLike, counts: ArrayLike) -> Interval:
    """Returns the 95% percentile bootstrap interval of a mean over images (Efron & Tibshirani 1993); the seed is fixed.

    Images are drawn with replacement. The mean of a resample depends only on how many of its images have each value, so
    these numbers are drawn directly, from a multinomial distribution.

    Args:
        values: (K,) the values that an image may have.
        counts: (K,) how many images have each value; at least one image in total.
    """
    weights = np.asarray(counts, dtype=np.float64)
    images = weights.sum()
    drawn = np.random.default_rng(0).multinomial(int(images), weights / images, _RESAMPLES)
    means = drawn @ np.asarray(values, dtype=np.float64) / images
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
