"""Which trials no other beats in accuracy and cost at once."""

from collections.abc import Sequence


def pareto_front(accuracies: Sequence[float], costs: Sequence[float]) -> list[bool]:
    """Whether each point is on the front: none has more accuracy at no higher cost, or a lower cost at no less.

    Equal points are on it together.
    """
    points = list(zip(accuracies, costs, strict=True))
    return [
        not any(
            other_accuracy >= accuracy and other_cost <= cost and (other_accuracy, other_cost) != (accuracy, cost)
            for other_accuracy, other_cost in points
        )
        for accuracy, cost in points
    ]
