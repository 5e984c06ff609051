"""Tests the bootstrap of a mean against scipy's, which draws the images themselves."""

import numpy as np
from scipy.stats import bootstrap

from pipeline.statistics.bootstrap import bootstrap_mean


def test_it_is_the_interval_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(1).choice([-1.0, -0.2, 0.0, 0.4, 1.0], 300, p=[0.05, 0.1, 0.6, 0.1, 0.15])
    theirs = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    kinds, counts = np.unique(values, return_counts=True)
    own = bootstrap_mean(kinds, counts)
    np.testing.assert_allclose([own.low, own.high], [theirs.low, theirs.high], atol=0.005)


def test_images_that_are_all_alike_leave_no_doubt() -> None:
    found = bootstrap_mean([0.25], [40])
    assert (found.low, found.high) == (0.25, 0.25)
