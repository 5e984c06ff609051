"""How far an accuracy may be from the true one, given how many images it was measured on."""

from dataclasses import dataclass

from scipy.stats import binomtest

LEVEL = 0.95
"""Of every interval here."""


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`."""

    low: float
    high: float


def accuracy_interval(correct: int, total: int) -> Interval:
    """Wilson's 95% score interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).

    Unlike the normal approximation it stays within 0 and 1, and is not empty where all or none are right.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and it.
    """
    found = binomtest(correct, total).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))
