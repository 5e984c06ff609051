"""Tests Holm's correction of several p-values against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from pipeline.statistics.multiple_tests import holm


@pytest.mark.parametrize("count", [1, 2, 10, 100])
def test_the_adjusted_p_values_are_those_of_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).uniform(size=count) ** 4
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_equal_p_values_stay_equal() -> None:
    assert holm([0.02, 0.5, 0.02]) == pytest.approx([0.06, 0.5, 0.06])
