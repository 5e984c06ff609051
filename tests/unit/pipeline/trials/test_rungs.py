"""Tests ASHA's rungs against results worked out by hand and against Ray's own scheduler."""

from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from pipeline.errors import UsageError
from pipeline.trials.rungs import Rungs


@pytest.mark.parametrize(
    ("ladder", "epochs"),
    [
        (Rungs(1, 3, 27), [1, 3, 9]),
        (Rungs(3, 3, 27), [3, 9]),
        (Rungs(2, 3, 20), [2, 6, 18]),
        (Rungs(1, 2, 8), [1, 2, 4]),
        (Rungs(5, 4, 5), []),
        (Rungs(1, 3, 1), []),
    ],
)
def test_rungs_below_the_full_length(ladder: Rungs, epochs: list[int]) -> None:
    assert ladder.epochs == epochs


@pytest.mark.parametrize(
    ("max_epochs", "grace_epochs", "expected"),
    [(27, None, 2), (24, None, 2), (36, None, 3), (11, None, 1), (1, None, 1), (27, 5, 5)],
)
def test_the_first_rung_is_a_twelfth_unless_named(max_epochs: int, grace_epochs: int | None, expected: int) -> None:
    assert Rungs.of(max_epochs, grace_epochs, 3) == Rungs(expected, 3, max_epochs)


def test_a_first_rung_beyond_the_spaces_length_is_refused() -> None:
    with pytest.raises(UsageError, match="--grace-epochs is 28, but must be at most the full length, 27"):
        Rungs.of(27, 28, 3)


@pytest.mark.parametrize(
    ("ladder", "trials", "expected"),
    [
        # 9 trials do 1 epoch, 3 of them continue to epoch 3, and 1 continues to epoch 9.
        (Rungs(1, 3, 9), 9, 9 * 1 + 3 * 2 + 1 * 6),
        # 32 trials train to epoch 3, a third of them to epoch 9, and a ninth to epoch 27.
        (Rungs(3, 3, 27), 32, 32 * 3 + 32 / 3 * 6 + 32 / 9 * 18),
        # There is no rung, so every trial trains to the end.
        (Rungs(5, 3, 5), 7, 35),
        # A single trial always continues.
        (Rungs(1, 3, 9), 1, 9),
    ],
)
def test_expected_epochs_by_hand(ladder: Rungs, trials: int, expected: float) -> None:
    assert ladder.expected_epochs(trials) == pytest.approx(expected)


LENGTHS = [
    (grace_epochs, max_epochs)
    for grace_epochs in (1, 2, 3, 7)
    for max_epochs in (1, 2, 7, 8, 9, 10, 20, 27, 30, 81, 243, 300)
    if grace_epochs <= max_epochs
]


@pytest.mark.parametrize(("grace_epochs", "max_epochs"), LENGTHS)
@pytest.mark.parametrize("reduction_factor", [2, 3, 4])
def test_the_rungs_are_those_of_rays_scheduler(grace_epochs: int, reduction_factor: int, max_epochs: int) -> None:
    scheduler: Any = AsyncHyperBandScheduler(
        time_attr="epoch", max_t=max_epochs, grace_period=grace_epochs, reduction_factor=reduction_factor
    )
    milestones = sorted(milestone for milestone, _ in scheduler._brackets[0]._rungs)
    expected = [milestone for milestone in milestones if milestone < max_epochs]
    assert Rungs(grace_epochs, reduction_factor, max_epochs).epochs == expected
