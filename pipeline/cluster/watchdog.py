"""Reports when nothing has progressed for long, and who holds and who waits for resources then."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.cluster.ray_tables import read_resource_table
from pipeline.cluster.resource_holders import ResourceTable
from pipeline.cluster.stall_report import RunningTrial, stall_lines, trial_lines
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from tune_spaces.trial_spec import TrialSpec

EPOCHS_IN_SILENCE = 2
"""A trial may take this many times as long for an epoch as for its last one before that is reported."""
SECONDS_FOR_RAY = 30.0
"""The seconds that Ray may take to answer; it does not answer while its control store is down."""


class Watchdog(Observer):
    """Observes the trials; reports when there was no progress for `minutes`, and again each time that they pass.

    If epochs take longer than that, silence is normal: the watchdog then waits for twice the longest time that any
    running trial took for its last epoch. Epochs that earlier commands trained do not count, because a resumed trial
    has to start up first.

    Use as a context manager around the training; it reports nothing once the block is left.
    """

    def __init__(
        self,
        minutes: float,
        say: Callable[[str], None],
        read: Callable[[], ResourceTable] = read_resource_table,
        clock: Callable[[], float] = time.monotonic,
        patience: float = SECONDS_FOR_RAY,
    ) -> None:
        self._period = minutes * 60
        self._say, self._read, self._clock, self._patience = say, read, clock, patience
        self._news = clock()
        self._reported = self._news
        """When the last report was made, or the last progress if that is later."""
        self._running: dict[tuple[int, int], RunningTrial] = {}
        self._lock = threading.Lock()
        """Protects the three fields above."""
        self._over = threading.Event()
        self._saying = threading.Lock()
        self._reader: threading.Thread | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self.progressed()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._saying:
            self._over.set()
        self._thread.join(timeout=1.0)  # it may be waiting for Ray

    def trial_started(self, spec: TrialSpec) -> None:
        with self._lock:
            self._progressed()
            self._running[spec.index, spec.seed] = RunningTrial(spec.recipe.epochs, self._news)

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        self._note_together(specs, len(specs))

    def trial_kept_apart(self, spec: TrialSpec) -> None:
        self._note_together([spec], 1)

    def _note_together(self, specs: Sequence[TrialSpec], count: int) -> None:
        with self._lock:
            self._progressed()
            for spec in specs:
                self._running[spec.index, spec.seed].together = count

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        with self._lock:
            self._progressed()
            before = self._running.get((spec.index, spec.seed)) or RunningTrial(spec.recipe.epochs, self._news)
            # Not all of the time since its last epoch, if it had to wait in between.
            trained = min(self._news - before.since, before.together * epoch.metrics.get("epoch_seconds", 0.0))
            self._running[spec.index, spec.seed] = replace(before, since=self._news, last=epoch, trained=trained)

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self.progressed()

    def trial_ended(self, record: TrialRecord) -> None:
        with self._lock:
            self._progressed()
            self._running.pop((record.spec.index, record.spec.seed), None)

    def trial_restored(self, record: TrialRecord) -> None:
        self.progressed()

    def progressed(self) -> None:
        """Notes progress; to be called for any progress that is not a trial's."""
        with self._lock:
            self._progressed()

    def _progressed(self) -> None:
        self._news = self._reported = self._clock()

    def _silence(self) -> float:
        """Returns the seconds without progress that are not worth a report."""
        longest = max((trial.trained for trial in self._running.values()), default=0.0)
        return max(self._period, EPOCHS_IN_SILENCE * longest)

    def _watch(self) -> None:
        while not self._over.wait(min(self.look(), threading.TIMEOUT_MAX)):
            pass

    def look(self) -> float:
        """Reports if a report is due; returns the seconds until the next one may be."""
        with self._lock:
            now, silence = self._clock(), self._silence()
            if now < self._reported + silence:
                return self._reported + silence - now
            self._reported = now
            news, trials = self._news, trial_lines(self._running, now)
        lines = [*stall_lines(now - news, self._read_resource_table()), *(f"  {line}" for line in trials)]
        with self._lock:
            stale, wait = self._news != news, max(0.0, self._reported + self._silence() - self._clock())
        with self._saying:
            if not stale and not self._over.is_set():  # both may have changed while Ray was answering
                self._say("\n".join(lines))
        return wait

    def _read_resource_table(self) -> ResourceTable:
        """Returns what Ray answers, or a table that says that it has not answered in time."""
        if self._reader is not None and self._reader.is_alive():
            return ResourceTable(unread=["Ray has not answered since the report before"])
        answers: list[ResourceTable] = []
        self._reader = threading.Thread(target=lambda: answers.append(self._read_safely()), daemon=True)
        self._reader.start()
        self._reader.join(self._patience)
        return answers[0] if answers else ResourceTable(unread=[f"Ray has not answered in {self._patience:g} seconds"])

    def _read_safely(self) -> ResourceTable:
        try:
            return self._read()
        except Exception as error:  # whatever the error is: training continues, and the rest of the report is useful
            return ResourceTable(unread=[f"{type(error).__name__}: {error}"])
