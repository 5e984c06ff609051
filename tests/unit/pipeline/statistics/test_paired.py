"""Tests the comparison of two models on the same images against statsmodels and scipy."""

import numpy as np
import pytest
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar

from pipeline.statistics.paired import compare_paired


def _right(only_first: int, only_second: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, False, True, False], [only_first, only_second, both, neither])
    second = np.repeat([False, True, True, False], [only_first, only_second, both, neither])
    return first, second


@pytest.mark.parametrize(
    "cells", [(3, 11, 300, 45), (11, 3, 0, 0), (5, 5, 90, 0), (0, 1, 5, 5), (400, 520, 8000, 1080)]
)
def test_mcnemar_and_the_bootstrap_are_those_of_the_libraries(cells: tuple[int, int, int, int]) -> None:
    only_first, only_second, both, neither = cells
    first, second = _right(*cells)
    found = compare_paired(first, second)
    assert (found.only_first, found.only_second, found.images) == (only_first, only_second, sum(cells))
    assert found.difference == pytest.approx(second.mean() - first.mean())
    expected = mcnemar([[both, only_first], [only_second, neither]], exact=True).pvalue
    assert found.p_value == pytest.approx(expected, abs=1e-12)
    if sum(cells) < 1000:
        gains, random = second.astype(float) - first, np.random.default_rng(1)
        result = bootstrap((gains,), np.mean, n_resamples=20_000, method="percentile", rng=random)
        theirs = result.confidence_interval
        # Both draw at random, so their ends agree only to an image or two.
        assert (found.interval.low, found.interval.high) == pytest.approx(tuple(theirs), abs=2.5 / sum(cells))


def test_chance_is_never_told_to_be_nothing() -> None:
    assert compare_paired(*_right(0, 6, 300, 53)).p_text == "p = 0.031"  # 2 / 2**6
    assert compare_paired(*_right(0, 2000, 3000, 5000)).p_text == "p < 1e-300"  # 2 / 2**2000


def test_models_that_never_disagree_do_not_differ() -> None:
    found = compare_paired(*_right(0, 0, 7, 3))
    assert (found.p_value, found.difference, found.interval.low, found.interval.high) == (1.0, 0.0, 0.0, 0.0)


def test_equal_models_are_told_apart_as_rarely_as_the_test_says() -> None:
    """If two models are each right on 90% of the images, independently, at most 5% of the p-values are below 5%."""
    random = np.random.default_rng(0)
    pairs = [(random.random(400) < 0.9, random.random(400) < 0.9) for _ in range(1500)]
    assert np.mean([compare_paired(*pair).p_value < 0.05 for pair in pairs]) < 0.065


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 4)])
def test_other_images_are_refused(first: int, second: int) -> None:
    with pytest.raises(ValueError, match=f"{first} and {second} images"):
        compare_paired(np.ones(first, bool), np.ones(second, bool))
