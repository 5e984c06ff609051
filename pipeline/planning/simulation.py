"""A search simulated beforehand: how far its trials get under ASHA, and how long the slots are busy.

What a configuration is worth is not known yet: each trial gets a random accuracy, the same at all rungs.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.search.asha import RungResults
from pipeline.trials.rungs import Rungs

MOST_REPETITIONS, FEWEST_REPETITIONS = 300, 20
TRIALS_IN_ALL = 20_000
"""The more trials a search has, the less it varies, and the fewer repetitions do."""


@dataclass(frozen=True)
class SearchEstimate:
    """What a search is expected to take, and what it takes if ASHA stops nothing."""

    reaching: dict[int, float]
    """Trials expected to train at least that far, for each rung and the full length, in epochs."""
    expected_epochs: float
    worst_epochs: int
    expected_seconds: float
    """From the start to the end of the last trial, like `worst_seconds`."""
    worst_seconds: float


@dataclass(frozen=True)
class Slots:
    """Where trials run, one at a time on each."""

    free_at: tuple[float, ...]
    """When each slot takes its first trial, in seconds from the start."""
    trial_seconds: float
    """What a slot spends on a trial besides its epochs, if it runs any."""


def simulate_search(epoch_seconds: Sequence[float], rungs: Rungs, slots: Slots) -> SearchEstimate:
    """Plays a search through, many times; the same question always gets the same answer.

    Args:
        epoch_seconds: of each trial, by index; the first is the published configuration, which is never stopped. 0 of
            one that has ended before: the others are still held against it.
        rungs: ASHA's ladder.
        slots: where the trials run; they are handed out in their order as slots become free.
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
        expected_seconds=float(np.median(seconds)),  # the mean would be that of a few long searches
        worst_seconds=_play(epoch_seconds, stops, slots, lambda trial, level: True).seconds,
    )


def _epochs(reaching: dict[int, float]) -> float:
    """Of all trials together."""
    befores = [0, *reaching]
    return sum(trials * (epoch - before) for (epoch, trials), before in zip(reaching.items(), befores, strict=False))


GoesOn = Callable[[int, int], bool]
"""Whether a trial goes on from a stop, by their indices. Asked once for each, in the order of time."""


def _asha(count: int, rungs: Rungs, repetition: int) -> GoesOn:
    """ASHA over random accuracies. A longer search begins with those of a shorter one, so that the two compare."""
    accuracies = np.random.default_rng(repetition).random(count).tolist()
    results = [RungResults(rungs.reduction_factor) for _ in rungs.epochs]

    def goes_on(trial: int, level: int) -> bool:
        return results[level].passes(accuracies[trial]) or trial == 0

    return goes_on


@dataclass(frozen=True)
class _Outcome:
    """What one search came to."""

    reached: list[int]
    """Trials that trained as far as each stop."""
    seconds: float


def _play(epoch_seconds: Sequence[float], stops: Sequence[int], slots: Slots, goes_on: GoesOn) -> _Outcome:
    """Plays a search through once, from one arrival at a stop to the next."""
    reached, ended = [0] * len(stops), 0.0
    waiting = iter(range(len(epoch_seconds)))
    free = list(slots.free_at)
    heapq.heapify(free)
    arrivals: list[tuple[float, int, int]] = []
    """When, which trial, at which stop."""
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
