"""Tests of the simulated search: its stopping rule against Ray's, its times against schedules worked out by hand."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from pipeline.planning.simulation import SearchEstimate, Slots, simulate_search
from pipeline.search.asha import RungResults
from pipeline.trials.rungs import Rungs

NO_RUNGS = Rungs(4, 3, 4)


@pytest.mark.parametrize("reduction_factor", [2, 3, 4])
@pytest.mark.parametrize("seed", range(10))
def test_a_rung_decides_as_rays_bracket_does(seed: int, reduction_factor: int) -> None:
    chance = random.Random(seed)
    bracket: Any = _Bracket(1, reduction_factor, reduction_factor, 0)
    results = RungResults(reduction_factor)
    passed = []
    for index in range(100):
        accuracy = chance.randrange(50) / 50  # some are equal
        theirs = bracket.on_result(SimpleNamespace(trial_id=index), 1, accuracy) == TrialScheduler.CONTINUE
        passed.append(results.passes(accuracy))
        assert passed[-1] == theirs, index
    assert 100 / reduction_factor / 2 < sum(passed) < 2 * 100 / reduction_factor


def test_trials_reach_the_rungs_as_under_rays_scheduler() -> None:
    """With equal speeds and one slot, trials reach each rung in their order, so Ray's brackets can be fed by hand."""
    rungs, count, repetitions = Rungs(1, 3, 9), 32, 300
    estimate = simulate_search([1.0] * count, rungs, Slots((0.0,), 0.0))
    reached = {1: 0, 3: 0, 9: 0}
    for seed in range(repetitions):
        accuracies = np.random.default_rng((seed, 1)).random(count)
        bracket: Any = _Bracket(1, 9, 3, 0)
        for index, accuracy in enumerate(accuracies):
            for epoch in (1, 3, 9):
                reached[epoch] += 1
                action = bracket.on_result(SimpleNamespace(trial_id=index), epoch, accuracy)
                if action == TrialScheduler.STOP and index != 0:
                    break
    expected = {epoch: trials / repetitions for epoch, trials in reached.items()}
    assert estimate.reaching[1] == count
    # The accuracies are drawn differently, so the means may differ by four standard errors. The variance of whether a
    # trial reaches a rung is at most 1/4, that of a coin.
    assert estimate.reaching == pytest.approx(expected, abs=4 * (2 * count / 4 / repetitions) ** 0.5)
    assert estimate.expected_epochs == pytest.approx(32 + 2 * estimate.reaching[3] + 6 * estimate.reaching[9])


def test_the_share_that_was_seen_of_rays_scheduler_on_32_trials_side_by_side() -> None:
    """It was 36% of all epochs with rungs 3 and 9 of 27 epochs, and 35% with rungs 2, 6 and 18 of 20 epochs."""
    side_by_side = Slots((0.0,) * 32, 0.0)
    for rungs, share in ((Rungs(3, 3, 27), 0.36), (Rungs(2, 3, 20), 0.35)):
        estimate = simulate_search([1.0] * 32, rungs, side_by_side)
        assert estimate.expected_epochs / estimate.worst_epochs == pytest.approx(share, abs=0.04)


def test_trial_0_runs_to_its_end_and_is_alone_where_it_is_alone() -> None:
    assert simulate_search([2.0], Rungs(1, 3, 9), Slots((0.0,), 0.0)) == SearchEstimate(
        {1: 1.0, 3: 1.0, 9: 1.0}, expected_epochs=9.0, worst_epochs=9, expected_seconds=18.0, worst_seconds=18.0
    )
    # Two trials: the other passes a rung unless trial 0 was there first and is better.
    first = simulate_search([1.0, 1.0], Rungs(1, 3, 9), Slots((0.0,), 0.0))
    assert first.reaching == {1: 2.0, 3: pytest.approx(1.5, abs=0.12), 9: pytest.approx(1.5, abs=0.12)}
    last = simulate_search([3.0, 1.0], Rungs(1, 3, 9), Slots((0.0, 0.0), 0.0))
    assert last.reaching == {1: 2.0, 3: 2.0, 9: 2.0}


@pytest.mark.parametrize(
    ("epoch_seconds", "slots", "seconds"),
    [
        # One slot: trials of 4 epochs run one after another, and each takes a second besides.
        ([1.0, 2.0, 3.0], Slots((0.0,), 1.0), 3 + 4 + 8 + 12),
        # Two slots: in the first, trial 0 runs until 4 and trial 2 until 16; in the second, trial 1 runs until 8.
        ([1.0, 2.0, 3.0], Slots((0.0, 0.0), 0.0), 16),
        # There are more slots than trials.
        ([1.0, 2.0, 3.0], Slots((0.0,) * 5, 0.5), 12.5),
        # One slot is held until 10: trial 0 runs until 4 and trial 1 until 12 in the other, and trial 2 from 10 to 22
        # in the first.
        ([1.0, 2.0, 3.0], Slots((10.0, 0.0), 0.0), 22),
        # Trials 0 and 2 have ended before, and take neither epochs nor the second that any other trial takes besides.
        ([0.0, 2.0, 0.0, 3.0], Slots((5.0,), 1.0), 5 + 1 + 8 + 1 + 12),
        # One slot is held for longer than the search takes.
        ([1.0, 1.0], Slots((100.0, 2.0), 0.0), 10),
    ],
)
def test_when_the_last_trial_ends_without_rungs(epoch_seconds: list[float], slots: Slots, seconds: float) -> None:
    estimate = simulate_search(epoch_seconds, NO_RUNGS, slots)
    assert estimate.expected_seconds == estimate.worst_seconds == pytest.approx(seconds)
    assert estimate.reaching == {4: len(epoch_seconds)}


def test_asha_saves_time_and_nothing_stopped_is_the_worst() -> None:
    estimate = simulate_search([1.0] * 30, Rungs(1, 3, 9), Slots((0.0, 0.0), 0.0))
    assert estimate.worst_seconds == 30 * 9 / 2
    assert estimate.worst_epochs == 270
    assert estimate.expected_epochs / 2 < estimate.expected_seconds < estimate.worst_seconds / 2
    # At the end, the slots are idle for no longer than the longest trial takes.
    assert estimate.expected_seconds < estimate.expected_epochs / 2 + 9


def test_the_same_question_gets_the_same_answer_and_more_trials_take_longer() -> None:
    def seconds(trials: int) -> float:
        return simulate_search([1.0] * trials, Rungs(1, 3, 9), Slots((0.0, 0.0), 0.1)).expected_seconds

    assert seconds(20) == seconds(20)
    times = [seconds(trials) for trials in (1, 2, 4, 8, 12, 16, 24, 32, 64)]
    assert times == sorted(times)
