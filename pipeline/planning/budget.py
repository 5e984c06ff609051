"""Finds the largest sweep that is expected to fit into a given time (`--budget`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import UsageError
from pipeline.terminal.durations import duration_text

WORTHWHILE_TRIALS = 8
"""Fewer trials are hardly a search, so epochs and training images are reduced before trials fall below this number."""


@dataclass(frozen=True)
class SweepSize:
    """How large a sweep is."""

    trials: int
    max_epochs: int
    train_images: int

    def __str__(self) -> str:
        sizes = ((self.trials, "trial"), (self.max_epochs, "epoch"), (self.train_images, "image"))
        return ", ".join(f"{count} {unit}" if count == 1 else f"{count} {unit}s" for count, unit in sizes)


def fit_budget(seconds: float, most: SweepSize, least_images: int, estimate: Callable[[SweepSize], float]) -> SweepSize:
    """Returns the largest sweep that is expected to end within `seconds`.

    First reduces what costs the result least: trials, down to 8; then epochs, down to a third; then training
    images, down to a tenth; then trials down to one, and epochs down to one.

    Args:
        seconds: the budget.
        most: the sweep that would run without a budget.
        least_images: the fewest training images that are tried, unless `most` has fewer.
        estimate: returns the expected seconds of a sweep; a larger sweep must take longer.

    Raises:
        UsageError: even the smallest sweep does not fit.
    """
    size = most
    if estimate(size) <= seconds:
        return size
    for name, low in _concessions(most, least_images):
        size = replace(size, **{name: low})
        if estimate(size) <= seconds:
            return _largest(size, name, getattr(most, name), lambda each: estimate(each) <= seconds)
    raise UsageError(
        f"--budget is {duration_text(seconds)}, but the smallest sweep ({size}) is expected to take "
        f"{math.ceil(estimate(size))} s"
    )


def _concessions(most: SweepSize, least_images: int) -> list[tuple[str, int]]:
    """Returns what is reduced, in this order: a field of `SweepSize` and its lowest value."""
    return [
        ("trials", min(WORTHWHILE_TRIALS, most.trials)),
        ("max_epochs", math.ceil(most.max_epochs / 3)),
        ("train_images", min(max(math.ceil(most.train_images / 10), least_images), most.train_images)),
        ("trials", 1),
        ("max_epochs", 1),
    ]


def _largest(fitting: SweepSize, name: str, beyond: int, fits: Callable[[SweepSize], bool]) -> SweepSize:
    """Returns `fitting` with the largest value of a field, below `beyond`, that still fits, found by bisection."""
    low, high = getattr(fitting, name), beyond
    while high - low > 1:
        middle = (low + high) // 2
        if fits(replace(fitting, **{name: middle})):
            low = middle
        else:
            high = middle
    return replace(fitting, **{name: low})
