"""Tests of the Pareto front, against lists worked out by hand."""

import pytest

from pipeline.page.pareto import pareto_front


@pytest.mark.parametrize(
    ("accuracies", "costs", "front"),
    [
        ([], [], []),
        ([0.5], [3], [True]),
        # The second is better than the first at the same cost, the third is cheaper than both, and the fourth is both
        # expensive and bad.
        ([0.8, 0.9, 0.7, 0.6], [10, 10, 5, 20], [False, True, True, False]),
        # The second is as good as the first, but more expensive.
        ([0.9, 0.9], [1, 2], [True, False]),
        # Equal points are on the front together.
        ([0.9, 0.9, 0.8], [1, 1, 1], [True, True, False]),
        # If the accuracy rises with the cost, all points are on the front.
        ([0.5, 0.6, 0.7], [1, 2, 3], [True, True, True]),
    ],
)
def test_the_front(accuracies: list[float], costs: list[float], front: list[bool]) -> None:
    assert pareto_front(accuracies, costs) == front
