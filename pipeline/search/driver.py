"""The driver's side of a search: which trial begins, what is decided of it, and how it ended.

Knows nothing of Ray Tune: `pipeline.search.tune_adapters` passes Tune's calls on to it.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import disk_full
from pipeline.search.asha import Asha
from pipeline.search.reports import ACCURACY
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, Outcome, TrialRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec


@dataclass(frozen=True)
class SearchLimits:
    """What keeps trials from beginning and from going on, asked whenever one might."""

    free_slots: Callable[[], int]
    """How many trials may run at once; at least one."""
    may_begin: Callable[[], bool] = lambda: True
    """Whether there is time for a further trial."""
    may_go_on: Callable[[int], bool] = lambda index: True
    """Whether there is time for a further epoch of a trial."""


Suggest = Callable[[int, Sequence[TrialRecord]], TrialSpec]
"""Gives the trial to run as number so-and-so, by those that have ended."""


class SearchDriver:
    """One search under way. Every decision and every end is in the ledger before it takes effect."""

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
        """Takes up what an earlier driver left in the ledger.

        With `suggest`, a trial becomes in the end what that says; `specs` tell how many there are.
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
        """Of trials that are about to end, with the error."""
        self._ended = dict(ledger.ended)
        self.disk_full: str | None = None
        """What to tell the user of it, where it is."""

    def announce_restored(self) -> None:
        """Tells the observers of the trials that an earlier driver brought to their ends."""
        for record in self._ledger.ended.values():
            for observer in self._observers:
                observer.trial_restored(record)

    @property
    def records(self) -> list[TrialRecord]:
        """Of the trials that have ended, by index."""
        return [self._ended[index] for index in sorted(self._ended)]

    @property
    def has_no_more_trials(self) -> bool:
        """No further trial begins."""
        return not self._waiting or not self.may_begin(self._waiting[0])

    def may_begin(self, index: int) -> bool:
        """Whether a trial may still begin; the published configuration may whatever time is left."""
        return not self.stopping and (index == 0 or self._limits.may_begin())

    @property
    def slots(self) -> int:
        """How many trials may run at once."""
        return self._limits.free_slots()

    @property
    def waiting(self) -> list[TrialSpec]:
        """The trials that have not been handed out, as they are known so far."""
        return [self._specs[index] for index in self._waiting]

    def set_aside(self, index: int) -> None:
        """One of those that wait is not to be handed out."""
        self._waiting.remove(index)

    def put_back(self, index: int) -> None:
        """What was set aside waits again."""
        insort(self._waiting, index)

    def next_trial(self) -> TrialSpec:
        """Hands out the next of the trials, in their order."""
        index = self._waiting.pop(0)
        if self._suggest is not None and index not in self._ledger.specs:
            self._specs[index] = self._suggest(index, self.records)
        return self._specs[index]

    def begin(self, index: int) -> None:
        """A trial's first process is on its way; or another, after a crash."""
        if index in self._epochs:
            return
        spec = self._specs[index]
        self._epochs[index] = []
        self._write(lambda: self._ledger.started(spec))
        for observer in self._observers:
            observer.trial_started(spec)

    def fused(self, indices: Sequence[int]) -> None:
        """Trials that have begun are trained as one."""
        specs = [self._specs[index] for index in indices]
        for observer in self._observers:
            observer.trials_fused(specs)

    def kept_apart(self, index: int) -> None:
        """A trial that has begun could not be trained together with others."""
        for observer in self._observers:
            observer.trial_kept_apart(self._specs[index])

    def goes_on(self, index: int, report: dict[str, Any]) -> bool:
        """Decides whether a trial goes on after this report; the published configuration does while anything may."""
        if report.get("done"):
            return False
        go_on = "waits" in report or self._passes(index, report["epoch"], report[ACCURACY])
        if self.stopping:
            self._outcomes[index] = ("interrupted", None)
            return False
        if not go_on:
            self._outcomes[index] = ("asha", None)
        elif report["pauses"] and index != 0 and not self._limits.may_go_on(index):
            self._outcomes[index], go_on = ("budget", None), False
        return go_on

    def _passes(self, index: int, epoch: int, accuracy: float) -> bool:
        """Whether a trial goes on from an epoch, as far as ASHA is concerned."""
        if not self._asha.is_rung(epoch):
            return True
        known = self._asha.decided(index, epoch)
        if known is not None:
            return known
        decision = self._asha.decide(index, epoch, accuracy)
        self._write(lambda: self._ledger.decided(index, decision))
        return decision.go_on

    def _stand_as_worst(self, index: int, epoch: int) -> None:
        """A trial that diverged in an epoch takes the lowest place on the rung that it would have come to next."""
        rung = self._asha.next_rung(epoch)
        if rung is None or self._asha.decided(index, rung) is not None:
            return
        decision = self._asha.decide_diverged(index, rung)
        self._write(lambda: self._ledger.decided(index, decision))

    def note_report(self, index: int, report: dict[str, Any]) -> None:
        """Tells the observers of an epoch, once however often it is reported."""
        if "waits" in report:
            return
        spec = self._specs[index]
        if "ended" in report:
            outcome = report["ended"]["outcome"]
            self._outcomes[index] = (outcome, report["ended"]["error"])
            if outcome == "diverged":  # Tune asks nobody about a trial that is over
                self._stand_as_worst(index, report["epoch"])
            return
        for reason in report["refused"]:
            if reason not in self._refused:
                self._refused.add(reason)
                for observer in self._observers:
                    observer.checkpoint_refused(spec, reason)
        epoch, known = EpochRecord.of(report), self._epochs[index]
        if epoch.number <= len(known):
            return  # reported again by the process that took the trial over
        known.append(epoch)
        for observer in self._observers:
            observer.epoch_done(spec, epoch)

    def end(self, index: int) -> None:
        """A trial is over by itself, or because `goes_on` said no."""
        outcome, error = self._outcomes.get(index, ("finished", None))
        if outcome == "interrupted" and error is not None:
            self.disk_full = self.disk_full or error
            error = None
        self._end(index, outcome, error)

    def abandon(self, index: int) -> None:
        """The user wants to stop, and the trial's process has not come up."""
        self._end(index, "interrupted", None)

    def end_the_rest(self) -> None:
        """Ends what has begun and will not go on under this command: the user wants to stop, or no time is left."""
        for index in [index for index in self._epochs if index not in self._ended]:
            self._end(index, "interrupted" if self.stopping else "budget", None)

    def fail(self, index: int, error: str) -> None:
        """A trial's process died as often as it may, or could not be started."""
        self._end(index, "failed", error)

    def _end(self, index: int, outcome: Outcome, error: str | None) -> None:
        if index in self._ended:
            return
        self.begin(index)  # its process may never have come up
        epochs, decisions = tuple(self._epochs[index]), self._ledger.decisions(index)
        record = TrialRecord(self._specs[index], outcome, epochs, error, decisions)
        if not self._write(lambda: self._ledger.end(record)):
            record = replace(record, outcome="interrupted", error=None)  # the next driver will not know of its end
        self._ended[index] = record
        for observer in self._observers:
            observer.trial_ended(record)

    @property
    def stopping(self) -> bool:
        """The user, or a full disk, ends the search."""
        return self.disk_full is not None or self._interrupted()

    def _write(self, change: Callable[[], None]) -> bool:
        """Changes the ledger, or says that it could not: where the disk is full, the search comes to an orderly end."""
        try:
            change()
        except OSError as error:
            full = disk_full(error)
            if full is None:
                raise
            self.disk_full = self.disk_full or full
            return False
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Ray Tune pickles everything that its callbacks hold into snapshots nobody reads; a placeholder is enough."""
        return str, ("a search driver lives in its own process only",)
