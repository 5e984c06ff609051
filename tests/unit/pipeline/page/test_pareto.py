"""The Pareto front, against lists worked out by hand."""

import pytest

from pipeline.page.pareto import pareto_front


@pytest.mark.parametrize(
    ("accuracies", "costs", "front"),
    [
        ([], [], []),
        ([0.5], [3], [True]),
        # The second is better at the same cost as the first, the third cheaper than both, the fourth dear and bad.
        ([0.8, 0.9, 0.7, 0.6], [10, 10, 5, 20], [False, True, True, False]),
        # As good as the first, but dearer.
        ([0.9, 0.9], [1, 2], [True, False]),
        # Equals stand there together.
        ([0.9, 0.9, 0.8], [1, 1, 1], [True, True, False]),
        # A staircase is all front.
        ([0.5, 0.6, 0.7], [1, 2, 3], [True, True, True]),
    ],
)
def test_the_front(accuracies: list[float], costs: list[float], front: list[bool]) -> None:
    assert pareto_front(accuracies, costs) == front
