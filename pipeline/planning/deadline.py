"""Keeps a search within its time: decides which trials start and continue, by how long the trials so far took."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.config import Budget
from pipeline.planning.slots import trainings_of_slots
from pipeline.results.leaderboard import choose_finalists, leaderboard
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from tune_spaces.trial_spec import TrialSpec

TRIAL_LENGTH_QUANTILE = 0.8
"""A further trial is expected to take as long as this quantile of the lengths of the trials so far."""


@dataclass(frozen=True)
class FullLengthTrainings:
    """The full-length trainings of the finalists, which follow the search."""

    finalists: int
    seeds: int
    """How often each finalist is trained to its full length, each time with another seed."""
    at_once: int
    """How many of the trainings run at the same time."""


class Deadline(Observer):
    """Observes a search, and estimates from the trials so far how much time the rest will take.

    Once a trial has no time for a further epoch, the search is over: no further trial starts, and the running trials
    end with their current epoch.
    """

    def __init__(self, budget: Budget, final: FullLengthTrainings, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns the current time in seconds since 1970, like the budget's deadline."""
        self._budget, self._final, self._clock = budget, final, clock
        self._begun: dict[int, float] = {}
        self._running: dict[int, TrialRecord] = {}
        """The running trials by index, with their epochs so far."""
        self._last_epoch_end: dict[int, float] = {}
        """When each running trial completed its last epoch; before its first epoch is done, when it started."""
        self._ended: dict[int, TrialRecord] = {}
        self._is_over = False
        self._lengths: list[float] = []
        """Seconds from start to end of each ended trial except trial 0; of a restored trial, those of its epochs."""
        self._fused: set[int] = set()
        """Trials that were fused with others: the time recorded for their epochs is only their share of it."""

    def trial_started(self, spec: TrialSpec) -> None:
        self._begun[spec.index] = self._last_epoch_end[spec.index] = self._clock()
        self._running[spec.index] = TrialRecord(spec, "budget", ())

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self._last_epoch_end[spec.index] = self._clock()
        running = self._running[spec.index]
        self._running[spec.index] = replace(running, epochs=(*running.epochs, epoch))

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        self._fused.update(spec.index for spec in specs)

    def trial_ended(self, record: TrialRecord) -> None:
        self._note(record, self._clock() - self._begun[record.index])

    def trial_restored(self, record: TrialRecord) -> None:
        self._note(record, record.seconds)

    def _note(self, record: TrialRecord, seconds: float) -> None:
        self._running.pop(record.index, None)
        self._ended[record.index] = record
        if record.index != 0:  # trial 0 is never stopped, so its length says nothing about the others
            self._lengths.append(seconds)

    def leaves_time_to_begin(self) -> bool:
        """Whether there is time for a further trial and for everything that follows the search."""
        return not self._is_over and self._clock() + self._trial_seconds() <= self._search_end()

    def leaves_time_to_go_on(self, index: int, epochs: int = 1) -> bool:
        """Whether there is time for further epochs of a trial, if each takes as long as the one that has just ended."""
        now, end = self._clock(), self._search_end()
        epoch_seconds = now - self._last_epoch_end[index]
        self._is_over |= now + epoch_seconds > end
        return not self._is_over and now + epochs * epoch_seconds <= end

    def seconds_left(self) -> float:
        """Returns the seconds left for the search alone; 0 if there is no time for a further trial."""
        return self._search_end() - self._clock() if self.leaves_time_to_begin() else 0.0

    def _search_end(self) -> float:
        """Returns when the search has to be over, given what would follow it if all trials ended now."""
        return self._budget.deadline - self._seconds_after_search()

    def _trial_seconds(self) -> float:
        return float(np.quantile(self._lengths, TRIAL_LENGTH_QUANTILE)) if self._lengths else 0.0

    def _seconds_after_search(self) -> float:
        budget, final = self._budget, self._final
        if len(self._ended) < budget.trials:  # too early to tell how long the finalists will take
            return budget.fixed_seconds + budget.finalists_seconds
        trials = [*self._ended.values(), *self._running.values()]
        finalists = choose_finalists(leaderboard(trials), final.finalists)
        lengths = [_full_length(trial) for trial in finalists for _ in range(final.seeds)]
        seconds = max(map(sum, trainings_of_slots(lengths, final.at_once)), default=0.0)
        if any(trial.index in self._fused for trial in finalists):
            seconds = max(seconds, budget.finalists_seconds)  # trained alone, it takes longer than its share
        return budget.fixed_seconds + seconds


def _full_length(trial: TrialRecord) -> float:
    """Estimates the seconds of training a trial to its full length, from the epochs it has completed."""
    return float(np.median([_seconds(epoch) for epoch in trial.epochs])) * trial.spec.recipe.epochs


def _seconds(epoch: EpochRecord) -> float:
    return epoch.metrics["epoch_seconds"]
