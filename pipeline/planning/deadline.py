"""Keeping a search within its time: what begins and what goes on, by what was seen so far."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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

    Once a trial has no time for a further epoch, the search is over: nothing begins any more, and what runs ends with
    the epoch that it is in.
    """

    def __init__(self, budget: Budget, final: FullLengthTrainings, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells the time as the budget's deadline does."""
        self._budget, self._final, self._clock = budget, final, clock
        self._begun: dict[int, float] = {}
        self._running: dict[int, TrialRecord] = {}
        """With the epochs so far."""
        self._paused_at: dict[int, float] = {}
        """When a running trial's last epoch ended; at first, when it began."""
        self._ended: dict[int, TrialRecord] = {}
        self._is_over = False
        self._lengths: list[float] = []
        """Of the trials so far, from their start to their end, in seconds."""
        self._fused: set[int] = set()
        """Trials that were trained as one with others, and had a share of an epoch's time."""

    def trial_started(self, spec: TrialSpec) -> None:
        self._begun[spec.index] = self._paused_at[spec.index] = self._clock()
        self._running[spec.index] = TrialRecord(spec, "budget", ())

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self._paused_at[spec.index] = self._clock()
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
        if record.index != 0:  # it is never stopped, and tells nothing of the others
            self._lengths.append(seconds)

    def leaves_time_to_begin(self) -> bool:
        """Whether there is time for a further trial and for all that follows the search."""
        return not self._is_over and self._clock() + self._trial_seconds() <= self._search_end()

    def leaves_time_to_go_on(self, index: int) -> bool:
        """Whether there is time for a further epoch of a trial, as long as the one that has ended this moment."""
        now = self._clock()
        epoch_seconds = now - self._paused_at[index]
        self._is_over |= now + epoch_seconds > self._search_end()
        return not self._is_over

    def seconds_left(self) -> float:
        """Of the search, without what follows it; 0 where no further trial has time."""
        return self._search_end() - self._clock() if self.leaves_time_to_begin() else 0.0

    def _search_end(self) -> float:
        """When the search has to be over, by what would follow it if all trials were to end now."""
        return self._budget.deadline - self._seconds_after_search()

    def _trial_seconds(self) -> float:
        return float(np.quantile(self._lengths, TRIAL_LENGTH_QUANTILE)) if self._lengths else 0.0

    def _seconds_after_search(self) -> float:
        budget, final = self._budget, self._final
        if len(self._ended) < budget.trials:  # nobody knows yet what the finalists will be like
            return budget.fixed_seconds + budget.finalists_seconds
        trials = [*self._ended.values(), *self._running.values()]
        finalists = choose_finalists(leaderboard(trials), final.finalists)
        lengths = [_full_length(trial) for trial in finalists for _ in range(final.seeds)]
        seconds = fullest_slot(lengths, final.at_once)
        if any(trial.index in self._fused for trial in finalists):
            seconds = max(seconds, budget.finalists_seconds)  # alone, it takes longer than its share
        return budget.fixed_seconds + seconds


def fullest_slot(lengths: Sequence[float], slots: int) -> float:
    """How long the slots take that are dealt out trainings beforehand, as `stages.full_length_trainings` does it."""
    return max(sum(lengths[slot::slots]) for slot in range(slots))


def _full_length(trial: TrialRecord) -> float:
    """Seconds that the trial's full length takes, by the epochs it has done."""
    return float(np.median([_seconds(epoch) for epoch in trial.epochs])) * trial.spec.recipe.epochs


def _seconds(epoch: EpochRecord) -> float:
    return epoch.metrics["epoch_seconds"]
