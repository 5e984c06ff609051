"""The Pareto front: the trials that no other trial beats in both accuracy and cost."""

from collections.abc import Sequence


def pareto_front(accuracies: Sequence[float], costs: Sequence[float]) -> list[bool]:
    """Returns whether each point is on the Pareto front.

    It is, unless another point has a higher accuracy at no higher cost, or a lower cost at no lower accuracy. Of equal
    points, all or none are on the front.
    """
    points = list(zip(accuracies, costs, strict=True))
    return [
        not any(
            other_accuracy >= accuracy and other_cost <= cost and (other_accuracy, other_cost) != (accuracy, cost)
            for other_accuracy, other_cost in points
        )
        for accuracy, cost in points
    ]
