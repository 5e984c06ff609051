"""Keeping a search within its time: no trial begins for which, by what was seen so far, there is no time left."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config import Budget
from pipeline.results.leaderboard import choose_finalists, leaderboard
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from tune_spaces.trial_spec import TrialSpec

TRIAL_LENGTH_QUANTILE = 0.8
"""The quantile of trial lengths so far that a further trial is expected to take."""


@dataclass(frozen=True)
class FullLengthTrainings:
    """The trainings that follow the search."""

    finalists: int
    seeds: int
    """Trainings of each finalist, to its full length."""
    at_once: int
    """How many of the trainings run at once."""


class Deadline(Observer):
    """Observes a search, and reckons what is still to come from the trials so far.

    A trial that has begun is not cut short, so the last ones may take the sweep a little beyond its time.
    """

    def __init__(self, budget: Budget, final: FullLengthTrainings, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells the time as the budget's deadline does."""
        self._budget, self._final, self._clock = budget, final, clock
        self._begun: dict[int, float] = {}
        self._ended: dict[int, TrialRecord] = {}
        self._lengths: list[float] = []
        """Of the trials so far, from their start to their end, in seconds."""
        self._fused: set[int] = set()
        """Trials that were trained as one with others, and had a share of an epoch's time."""

    def trial_started(self, spec: TrialSpec) -> None:
        self._begun[spec.index] = self._clock()

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        self._fused.update(spec.index for spec in specs)

    def trial_ended(self, record: TrialRecord) -> None:
        self._note(record, self._clock() - self._begun[record.index])

    def trial_restored(self, record: TrialRecord) -> None:
        self._note(record, record.seconds)

    def _note(self, record: TrialRecord, seconds: float) -> None:
        self._ended[record.index] = record
        if record.index != 0:  # it is never stopped, and tells nothing of the others
            self._lengths.append(seconds)

    def leaves_time(self) -> bool:
        """Whether there is time for a further trial and for all that follows the search."""
        return self._clock() + self._trial_seconds() + self._seconds_after_search() <= self._budget.deadline

    def seconds_left(self) -> float:
        """Of the search, without what follows it; 0 where no further trial has time."""
        return self._budget.deadline - self._clock() - self._seconds_after_search() if self.leaves_time() else 0.0

    def _trial_seconds(self) -> float:
        return float(np.quantile(self._lengths, TRIAL_LENGTH_QUANTILE)) if self._lengths else 0.0

    def _seconds_after_search(self) -> float:
        budget, final = self._budget, self._final
        if len(self._ended) < budget.trials:  # nobody knows yet what the finalists will be like
            return budget.fixed_seconds + budget.finalists_seconds
        finalists = choose_finalists(leaderboard(list(self._ended.values())), final.finalists)
        work = final.seeds * sum(_full_length(trial) for trial in finalists)
        seconds = work / min(final.at_once, final.finalists * final.seeds)
        if any(trial.index in self._fused for trial in finalists):
            seconds = max(seconds, budget.finalists_seconds)  # alone, it takes longer than its share
        return budget.fixed_seconds + seconds


def _full_length(trial: TrialRecord) -> float:
    """Seconds that the trial's full length takes, by the epochs it has done."""
    return float(np.median([_seconds(epoch) for epoch in trial.epochs])) * trial.spec.recipe.epochs


def _seconds(epoch: EpochRecord) -> float:
    return epoch.metrics["epoch_seconds"]
