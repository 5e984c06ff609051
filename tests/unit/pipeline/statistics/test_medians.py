"""Tests the interval of a median against scipy's quantile test."""

import numpy as np
import pytest
from scipy.stats import quantile_test

from pipeline.statistics.medians import median_interval


@pytest.mark.parametrize("size", [6, 10, 39, 40, 1000])
def test_it_is_scipys(size: int) -> None:
    values = np.random.default_rng(size).lognormal(size=size)
    theirs = quantile_test(values, q=1.0, p=0.5).confidence_interval(0.95)
    own = median_interval(values)
    assert (own.low, own.high) == (theirs.low, theirs.high)  # type: ignore[attr-defined]


def test_of_forty_it_goes_from_the_fourteenth_to_the_twenty_seventh() -> None:
    """These are the ranks that tables of the sign test give."""
    found = median_interval(np.arange(40.0, 0.0, -1.0))
    assert (found.low, found.high) == (14.0, 27.0)


def test_five_values_tell_nothing() -> None:
    found = median_interval(np.arange(5.0))
    assert (found.low, found.high) == (-np.inf, np.inf)
