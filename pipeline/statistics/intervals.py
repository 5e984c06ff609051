"""Computes how far an accuracy may be from the true one, given how many images it was measured on."""

from dataclasses import dataclass

from scipy.stats import binomtest

LEVEL = 0.95
"""The confidence level of every interval in this folder."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, from `low` to `high`."""

    low: float
    high: float


def accuracy_interval(correct: int, total: int) -> Interval:
    """Wilson's 95% score interval of a proportion (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).

    Unlike the normal approximation, it stays between 0 and 1 and does not shrink to a point where all or none are
    right.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and `total`.
    """
    found = binomtest(correct, total).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))
