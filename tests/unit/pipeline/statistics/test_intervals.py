"""Tests Wilson's interval against statsmodels, and how often it contains the true accuracy."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from pipeline.statistics.intervals import accuracy_interval


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (7, 10), (350, 359), (6683, 10_000)])
def test_the_interval_is_wilsons(correct: int, total: int) -> None:
    interval = accuracy_interval(correct, total)
    assert (interval.low, interval.high) == pytest.approx(
        proportion_confint(correct, total, method="wilson"), abs=1e-12
    )


def test_it_holds_the_true_accuracy_about_as_often_as_it_says() -> None:
    found = [accuracy_interval(int(k), 300) for k in np.random.default_rng(0).binomial(300, 0.9, 2000)]
    assert 0.93 < np.mean([interval.low <= 0.9 <= interval.high for interval in found]) < 0.97


def test_no_images_have_no_accuracy() -> None:
    with pytest.raises(ValueError):
        accuracy_interval(0, 0)
