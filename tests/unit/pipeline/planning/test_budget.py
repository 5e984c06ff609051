"""Lengths of time, and what is given up for a budget, against costs made by hand."""

import pytest

from pipeline.errors import UsageError
from pipeline.planning.budget import SweepSize, fit_budget
from pipeline.terminal.durations import duration_text, parse_duration

MOST = SweepSize(trials=32, max_epochs=30, train_images=4000)


def cost(size: SweepSize) -> float:
    """A second for each trial, epoch and thousand images of it: 3840 s for `MOST`."""
    return size.trials * size.max_epochs * size.train_images / 1000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2h30m", 9000), ("1h0m5.5s", 3605.5), ("0h1s", 1)],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0s", "30", "m", "-5m", "5 m", "30m2h", "1e3s", "inf", "nan", ".5h", "1.h", "9" * 400 + "h", "1d", "5m\n"],
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_duration(text)
    rule = "must be a time above 0 such as 90s, 30m, 1.5h or 2h30m"
    assert str(refusal.value) == f"--budget is {text!r}, but {rule}"


@pytest.mark.parametrize(
    ("seconds", "text"), [(9000, "2h30m"), (1800, "30m"), (48, "48s"), (3605, "1h5s"), (0.5, "0.5s"), (0, "0s")]
)
def test_a_length_of_time_reads_as_it_is_typed(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        # All of it.
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
    assert len(asked) <= 4 + 12  # a look at each step, then the bisection of 3,600 images
