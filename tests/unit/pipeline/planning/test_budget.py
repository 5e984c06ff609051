"""Tests of what is reduced to fit a sweep into a budget, with made-up costs."""

import pytest

from pipeline.errors import UsageError
from pipeline.planning.budget import SweepSize, fit_budget

MOST = SweepSize(trials=32, max_epochs=30, train_images=4000)


def cost(size: SweepSize) -> float:
    """Returns a sweep's cost, one second per trial, epoch and thousand images: 3840 s for `MOST`."""
    return size.trials * size.max_epochs * size.train_images / 1000


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        # Everything fits.
        (3840, MOST),
        (10_000, MOST),
        # Fewer trials, at 120 s each.
        (3839, SweepSize(31, 30, 4000)),
        (2000, SweepSize(16, 30, 4000)),
        (960, SweepSize(8, 30, 4000)),
        # Then fewer epochs, at 32 s each for 8 trials.
        (959, SweepSize(8, 29, 4000)),
        (320, SweepSize(8, 10, 4000)),
        # Then fewer images, at 80 ms each.
        (319.99, SweepSize(8, 10, 3999)),
        (40, SweepSize(8, 10, 500)),
        (32, SweepSize(8, 10, 400)),
        # Then fewer trials again, at 4 s each; then fewer epochs.
        (31, SweepSize(7, 10, 400)),
        (4, SweepSize(1, 10, 400)),
        (3.9, SweepSize(1, 9, 400)),
        (0.4, SweepSize(1, 1, 400)),
    ],
)
def test_the_largest_that_fits_in_the_order_of_what_is_given_up(budget: float, expected: SweepSize) -> None:
    assert fit_budget(budget, MOST, 100, cost) == expected


@pytest.mark.parametrize(
    ("most", "least_images", "smallest"),
    [
        (MOST, 100, SweepSize(1, 1, 400)),
        (MOST, 1000, SweepSize(1, 1, 1000)),
        (MOST, 9000, SweepSize(1, 1, 4000)),
        (SweepSize(1, 1, 55), 10, SweepSize(1, 1, 10)),
        (SweepSize(5, 2, 15), 1, SweepSize(1, 1, 2)),
    ],
)
def test_the_smallest(most: SweepSize, least_images: int, smallest: SweepSize) -> None:
    assert fit_budget(cost(smallest), most, least_images, cost) == smallest
    with pytest.raises(UsageError):
        fit_budget(cost(smallest) * 0.99, most, least_images, cost)


def test_a_small_sweep_gives_up_epochs_before_its_trials() -> None:
    assert fit_budget(5 * 20 * 4, SweepSize(5, 30, 4000), 100, cost) == SweepSize(5, 20, 4000)


def test_a_budget_that_nothing_fits_is_refused() -> None:
    with pytest.raises(UsageError) as refusal:
        fit_budget(10, MOST, 100, lambda size: 47.1 + cost(size))
    said = "--budget is 10s, but the smallest sweep (1 trial, 1 epoch, 400 images) is expected to take 48 s"
    assert str(refusal.value) == said


def test_the_solver_asks_few_times() -> None:
    asked: list[SweepSize] = []

    def counted(size: SweepSize) -> float:
        asked.append(size)
        return cost(size)

    fit_budget(40, MOST, 100, counted)
    assert len(asked) <= 4 + 12  # one for each step, then those of the bisection of 3,600 images
