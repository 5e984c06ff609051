"""The driver's side of a search: chooses which trial starts, decides whether it continues, and records how it ended.

It does not use Ray Tune: `pipeline.search.tune_adapters` passes Tune's calls on to it.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import storage_failure
from pipeline.search.asha import Asha
from pipeline.search.reports import ACCURACY
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, Outcome, TrialRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec


@dataclass(frozen=True)
class SearchLimits:
    """Limits on starting and continuing trials, checked each time that a trial could start or continue."""

    free_slots: Callable[[], int]
    """How many trials may run at the same time; at least one."""
    may_begin: Callable[[], bool] = lambda: True
    """Whether there is time for a further trial."""
    may_go_on: Callable[[int, int], bool] = lambda index, epochs: True
    """Whether there is time for this many further epochs of a trial, after which it can be stopped again."""


Suggest = Callable[[int, Sequence[TrialRecord]], TrialSpec]
"""Chooses the trial with the given index, from the records of the trials that have ended."""


class SearchDriver:
    """Runs one search. Every decision and every final outcome is in the ledger before it takes effect."""

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        rungs: Rungs,
        ledger: Ledger,
        observers: Sequence[Observer],
        limits: SearchLimits,
        interrupted: Callable[[], bool],
        suggest: Suggest | None = None,
    ) -> None:
        """Resumes from what an earlier driver left in the ledger.

        With `suggest`, a trial is chosen when it is handed out; `specs` then only says how many trials there are.
        """
        self._specs = {spec.index: spec for spec in specs} | ledger.specs
        self._suggest = suggest
        self._ledger, self._observers, self._limits = ledger, observers, limits
        self._interrupted = interrupted
        self._asha = Asha(rungs)
        for index in ledger.begun:
            for decision in ledger.decisions(index):
                self._asha.replay(index, decision)
        self._waiting = [spec.index for spec in specs if spec.index not in ledger.ended]
        self._epochs: dict[int, list[EpochRecord]] = {}
        self._refused: set[str] = set()
        self._outcomes: dict[int, tuple[Outcome, str | None]] = {}
        """The outcome, and the error if any, of each trial that is about to end, by index."""
        self._ended = dict(ledger.ended)
        self.storage_failure: str | None = None
        """The message for the user if the disk is full or the storage is away; None otherwise."""

    def announce_restored(self) -> None:
        """Notifies the observers of the trials that had already ended under an earlier driver."""
        for record in self._ledger.ended.values():
            for observer in self._observers:
                observer.trial_restored(record)

    @property
    def records(self) -> list[TrialRecord]:
        """The records of the trials that have ended, sorted by index."""
        return [self._ended[index] for index in sorted(self._ended)]

    @property
    def has_no_more_trials(self) -> bool:
        """Whether no further trial will start."""
        return not self._waiting or not self.may_begin(self._waiting[0])

    def may_begin(self, index: int) -> bool:
        """Whether a trial may still start; the published configuration may, however little time is left."""
        return not self.stopping and (index == 0 or self._limits.may_begin())

    @property
    def slots(self) -> int:
        """How many trials may run at the same time."""
        return self._limits.free_slots()

    @property
    def waiting(self) -> list[TrialSpec]:
        """The trials that have not been handed out; `suggest` may still replace them."""
        return [self._specs[index] for index in self._waiting]

    def set_aside(self, index: int) -> None:
        """Removes a trial from the waiting ones, so that it is not handed out."""
        self._waiting.remove(index)

    def put_back(self, index: int) -> None:
        """Adds a trial that was set aside to the waiting ones again."""
        insort(self._waiting, index)

    def next_trial(self) -> TrialSpec:
        """Hands out the next of the waiting trials, in their order."""
        index = self._waiting.pop(0)
        if self._suggest is not None and index not in self._ledger.specs:
            self._specs[index] = self._suggest(index, self.records)
        return self._specs[index]

    def begin(self, index: int) -> None:
        """Marks a trial as started. Does nothing when the trial is started again after its process crashed."""
        if index in self._epochs:
            return
        spec = self._specs[index]
        self._epochs[index] = []
        self._write(lambda: self._ledger.started(spec))
        for observer in self._observers:
            observer.trial_started(spec)

    def fused(self, indices: Sequence[int]) -> None:
        """Notifies the observers that these trials, which have started, are trained as one (fused)."""
        specs = [self._specs[index] for index in indices]
        for observer in self._observers:
            observer.trials_fused(specs)

    def kept_apart(self, index: int) -> None:
        """Notifies the observers that a trial that has started could not be trained together with others."""
        for observer in self._observers:
            observer.trial_kept_apart(self._specs[index])

    def goes_on(self, index: int, report: dict[str, Any]) -> bool:
        """Decides whether a trial continues; trial 0 always does, unless it is done or the search is stopping."""
        if report.get("done"):
            return False
        go_on = "waits" in report or self._passes(index, report["epoch"], report[ACCURACY])
        if self.stopping:
            self._outcomes[index] = ("interrupted", None)
            return False
        if not go_on:
            self._outcomes[index] = ("asha", None)
        elif report["pauses"] and index != 0 and not self._limits.may_go_on(index, report["next_leg"]):
            self._outcomes[index], go_on = ("budget", None), False
        return go_on

    def _passes(self, index: int, epoch: int, accuracy: float) -> bool:
        """Whether ASHA lets a trial continue after an epoch."""
        if not self._asha.is_rung(epoch):
            return True
        known = self._asha.decided(index, epoch)
        if known is not None:
            return known
        decision = self._asha.decide(index, epoch, accuracy)
        self._write(lambda: self._ledger.decided(index, decision))
        return decision.go_on

    def _stand_as_worst(self, index: int, epoch: int) -> None:
        """Ranks a trial that diverged in an epoch as the worst at the next rung that it would have reached."""
        rung = self._asha.next_rung(epoch)
        if rung is not None and self._asha.decided(index, rung) is None:
            decision = self._asha.decide_diverged(index, rung)
            self._write(lambda: self._ledger.decided(index, decision))

    def note_report(self, index: int, report: dict[str, Any]) -> None:
        """Notifies the observers of an epoch, once even if it is reported again; remembers how a trial ended early."""
        if "waits" in report:
            return
        spec = self._specs[index]
        if "ended" in report:
            outcome = report["ended"]["outcome"]
            self._outcomes[index] = (outcome, report["ended"]["error"])
            if outcome == "diverged":  # Tune does not ask the scheduler about a trial that is done
                self._stand_as_worst(index, report["epoch"])
            return
        for reason in report["refused"]:
            if reason not in self._refused:
                self._refused.add(reason)
                for observer in self._observers:
                    observer.checkpoint_refused(spec, reason)
        epoch = EpochRecord.of(report)
        if epoch.number > len(self._epochs[index]):  # else a process that resumed the trial reports it again
            self._add_epoch(index, epoch)

    def _add_epoch(self, index: int, epoch: EpochRecord) -> None:
        self._epochs[index].append(epoch)
        for observer in self._observers:
            observer.epoch_done(self._specs[index], epoch)

    def end(self, index: int) -> None:
        """Ends a trial that is done, or that `goes_on` has stopped."""
        outcome, error = self._outcomes.get(index, ("finished", None))
        if outcome == "interrupted" and error is not None:
            self.storage_failure = self.storage_failure or error
            error = None
        self._end(index, outcome, error)

    def abandon(self, index: int) -> None:
        """Ends a trial whose process has not started when the user wants to stop."""
        self._end(index, "interrupted", None)

    def end_the_rest(self) -> None:
        """Ends the started trials, an earlier command's too, that do not continue, with the epochs that they saved."""
        for index in [index for index in self._ledger.begun if index not in self._ended]:
            self.begin(index)
            for epoch in self._ledger.saved_epochs(index)[len(self._epochs[index]) :]:
                self._add_epoch(index, epoch)
            self._end(index, "interrupted" if self.stopping else "budget", None)

    def fail(self, index: int, error: str) -> None:
        """Ends a trial as failed: its process died more often than allowed, or could not be started."""
        self._end(index, "failed", error)

    def _end(self, index: int, outcome: Outcome, error: str | None) -> None:
        if index in self._ended:
            return
        self.begin(index)  # its process may never have started
        epochs, decisions = tuple(self._epochs[index]), self._ledger.decisions(index)
        record = TrialRecord(self._specs[index], outcome, epochs, error, decisions)
        if not self._write(lambda: self._ledger.end(record)):
            record = replace(record, outcome="interrupted", error=None)  # the next driver will not know that it ended
        self._ended[index] = record
        for observer in self._observers:
            observer.trial_ended(record)

    @property
    def stopping(self) -> bool:
        """Whether the search is stopping, because the user wants it to or because its folder cannot be written."""
        return self.storage_failure is not None or self._interrupted()

    def _write(self, change: Callable[[], None]) -> bool:
        """Changes the ledger; returns False if it cannot be written, which stops the search in an orderly way."""
        try:
            change()
        except OSError as error:
            failure = storage_failure(error)
            if failure is None:
                raise
            self.storage_failure = self.storage_failure or failure
            return False
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Ray Tune pickles everything that its callbacks hold into snapshots nobody reads; a placeholder is enough."""
        return str, ("a search driver lives in its own process only",)
