"""Simulates a search before it runs: how far its trials get under ASHA, and how long the slots are busy.

The accuracy of a configuration is not known yet, so each trial gets a random accuracy, the same at all rungs.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.search.asha import RungResults
from pipeline.trials.rungs import Rungs

MOST_REPETITIONS, FEWEST_REPETITIONS = 300, 20
TRIALS_IN_ALL = 20_000
"""Trials of all repetitions together: a search with more trials varies less, and so needs fewer repetitions."""


@dataclass(frozen=True)
class SearchEstimate:
    """What a search is expected to take, and what it takes if ASHA stops nothing."""

    reaching: dict[int, float]
    """How many trials are expected to train at least that far, by the epoch of each rung and the full length."""
    expected_epochs: float
    worst_epochs: int
    expected_seconds: float
    """From the start of the search to the end of its last trial, like `worst_seconds`."""
    worst_seconds: float


@dataclass(frozen=True)
class Slots:
    """The slots in which trials run, one trial at a time in each."""

    free_at: tuple[float, ...]
    """When each slot takes its first trial, in seconds from the start of the search."""
    trial_seconds: float
    """Seconds that a slot spends on a trial besides its epochs; a trial that runs no epoch takes none."""


def simulate_search(epoch_seconds: Sequence[float], rungs: Rungs, slots: Slots) -> SearchEstimate:
    """Simulates a search many times and summarises the outcomes; the same arguments always give the same result.

    Args:
        epoch_seconds: the seconds of an epoch of each trial, by index. The first is the published configuration, which
            is never stopped. A trial that has ended before takes 0; the others are still compared with it.
        rungs: ASHA's ladder.
        slots: where the trials run; trials are handed out in order as slots become free.
    """
    count, stops = len(epoch_seconds), [*rungs.epochs, rungs.max_epochs]
    repetitions = min(MOST_REPETITIONS, max(FEWEST_REPETITIONS, TRIALS_IN_ALL // count))
    reached, seconds = np.zeros(len(stops)), []
    for repetition in range(repetitions):
        outcome = _play(epoch_seconds, stops, slots, _asha(count, rungs, repetition))
        reached += outcome.reached
        seconds.append(outcome.seconds)
    reaching = dict(zip(stops, (reached / repetitions).tolist(), strict=True))
    return SearchEstimate(
        reaching=reaching,
        expected_epochs=_epochs(reaching),
        worst_epochs=count * rungs.max_epochs,
        expected_seconds=float(np.median(seconds)),  # a few long searches would dominate the mean
        worst_seconds=_play(epoch_seconds, stops, slots, lambda trial, level: True).seconds,
    )


def _epochs(reaching: dict[int, float]) -> float:
    """Returns the epochs of all trials together."""
    befores = [0, *reaching]
    return sum(trials * (epoch - before) for (epoch, trials), before in zip(reaching.items(), befores, strict=False))


GoesOn = Callable[[int, int], bool]
"""Takes the indices of a trial and a stop (a rung or the full length), and returns whether the trial continues there.
Called once for each pair, in the order of the simulated time."""


def _asha(count: int, rungs: Rungs, repetition: int) -> GoesOn:
    """Returns ASHA's rule over random accuracies.

    A longer search begins with the same accuracies as a shorter one, so that the two can be compared.
    """
    accuracies = np.random.default_rng(repetition).random(count).tolist()
    results = [RungResults(rungs.reduction_factor) for _ in rungs.epochs]

    def goes_on(trial: int, level: int) -> bool:
        return results[level].passes(accuracies[trial]) or trial == 0

    return goes_on


@dataclass(frozen=True)
class _Outcome:
    """The outcome of one simulated search."""

    reached: list[int]
    """How many trials trained as far as each stop."""
    seconds: float


def _play(epoch_seconds: Sequence[float], stops: Sequence[int], slots: Slots, goes_on: GoesOn) -> _Outcome:
    """Simulates a search once, from one arrival of a trial at a stop to the next."""
    reached, ended = [0] * len(stops), 0.0
    waiting = iter(range(len(epoch_seconds)))
    free = list(slots.free_at)
    heapq.heapify(free)
    arrivals: list[tuple[float, int, int]] = []
    """The next arrival of each running trial: its time, the trial, and the stop."""
    while True:
        # A slot takes its next trial before anything later happens.
        while free and (not arrivals or free[0] <= arrivals[0][0]) and (trial := next(waiting, None)) is not None:
            start = heapq.heappop(free) + (slots.trial_seconds if epoch_seconds[trial] else 0.0)
            heapq.heappush(arrivals, (start + stops[0] * epoch_seconds[trial], trial, 0))
        if not arrivals:
            return _Outcome(reached, ended)
        now, trial, level = heapq.heappop(arrivals)
        reached[level] += 1
        if level + 1 < len(stops) and goes_on(trial, level):
            further = stops[level + 1] - stops[level]
            heapq.heappush(arrivals, (now + further * epoch_seconds[trial], trial, level + 1))
        else:
            ended = max(ended, now)
            heapq.heappush(free, now)
