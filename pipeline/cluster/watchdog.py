"""Where nothing progresses for long, the command says so, and which resource is held by whom."""

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
"""A trial may take so many times as long over an epoch as over its last one."""
SECONDS_FOR_RAY = 30.0
"""How long Ray may take to answer; while its control store is away, it does not."""


class Watchdog(Observer):
    """Observes the trials; reports when no news has come for `minutes`, and again each time that they pass.

    Where a trial's epochs take longer than that, silence is nothing to report: then it waits for twice the longest
    time that one under way has taken over its last epoch. What earlier commands have trained does not count: a trial
    that goes on has to start first.

    Use as a context manager around the training; it says nothing once that is left.
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
        """When the last report was, or the news since."""
        self._running: dict[tuple[int, int], RunningTrial] = {}
        self._lock = threading.Lock()
        """Over the three above."""
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
            # Not all of it, where it had to wait in between.
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
        """Hears of any other progress than a trial's."""
        with self._lock:
            self._progressed()

    def _progressed(self) -> None:
        self._news = self._reported = self._clock()

    def _silence(self) -> float:
        """For how many seconds no news is nothing to report."""
        longest = max((trial.trained for trial in self._running.values()), default=0.0)
        return max(self._period, EPOCHS_IN_SILENCE * longest)

    def _watch(self) -> None:
        while not self._over.wait(min(self.look(), threading.TIMEOUT_MAX)):
            pass

    def look(self) -> float:
        """Reports where a report is due; gives the seconds until one may be."""
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
            if not stale and not self._over.is_set():  # Ray may have taken its time
                self._say("\n".join(lines))
        return wait

    def _read_resource_table(self) -> ResourceTable:
        """What Ray says, if it answers."""
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
        except Exception as error:  # whatever it is: the training goes on, and the rest of the report is of use
            return ResourceTable(unread=[f"{type(error).__name__}: {error}"])
