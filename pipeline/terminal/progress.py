"""What the user sees while trials run: a live view on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.terminal.durations import clock_text
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec

SECONDS_BETWEEN_LINES = 10.0
FEWEST_TRIALS_FOR_ESTIMATE = 5
ROWS = 20
"""How many running trials the live view lists; it only counts the others."""


class Progress(Observer):
    """Observes a search and shows its progress. Use as a context manager around the search."""

    def __init__(
        self, console: Console, trials: int, rungs: Rungs, budget_seconds: Callable[[], float] | None = None
    ) -> None:
        """`budget_seconds` returns the seconds that a budget leaves for the search, 0 if no further trial fits in."""
        self._console, self._trials, self._rungs = console, trials, rungs
        self._budget_seconds = budget_seconds
        self._ended_epochs: list[int] = []
        self._running: dict[int, EpochRecord | None] = {}
        self._outcomes: Counter[str] = Counter()
        self._reached: Counter[int] = Counter()
        self._epochs = 0
        self._best: dict[int, float] = {}
        """The best accuracy of each trial that has neither diverged nor failed."""
        self._started = self._last_line = time.monotonic()
        self._live = Live(console=console, get_renderable=self._view, transient=True, refresh_per_second=2)

    def __enter__(self) -> "Progress":
        self._started = time.monotonic()
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
        self._console.out(self._status(), highlight=False)

    def trial_started(self, spec: TrialSpec) -> None:
        self._running[spec.index] = None

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        self._console.out(f"fused: trials {', '.join(str(spec.index) for spec in specs)}", highlight=False)

    def trial_kept_apart(self, spec: TrialSpec) -> None:
        self._console.out(f"not fused: trial {spec.index} is trained alone", highlight=False)

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self._running[spec.index] = epoch
        self._epochs += 1
        self._reached[epoch.number] += 1
        self._note_best(spec.index, epoch)
        if not self._console.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._console.out(self._status(), highlight=False)

    def _note_best(self, index: int, epoch: EpochRecord) -> None:
        self._best[index] = max(epoch.accuracy, self._best.get(index, 0.0))

    def trial_ended(self, record: TrialRecord) -> None:
        self._running.pop(record.index, None)
        self._note_end(record)
        if record.error:
            self._console.out(f"trial {record.index} {record.outcome}: {record.error}", highlight=False)

    def trial_restored(self, record: TrialRecord) -> None:
        for epoch in record.epochs:
            self._reached[epoch.number] += 1
            self._note_best(record.index, epoch)
        self._note_end(record)

    def _note_end(self, record: TrialRecord) -> None:
        if not record.is_sound:
            self._best.pop(record.index, None)
        self._outcomes[record.outcome] += 1
        self._ended_epochs.append(len(record.epochs))

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self._console.out(f"warning: trial {spec.index} resumes from an earlier checkpoint: {reason}", highlight=False)

    def _status(self) -> str:
        ended = len(self._ended_epochs)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._outcomes.items()))
        rungs = " ".join(f"{epoch}:{self._reached[epoch]}" for epoch in (*self._rungs.epochs, self._rungs.max_epochs))
        leader = max(self._best, key=lambda index: (self._best[index], -index), default=None)
        best = "no epoch yet" if leader is None else f"best {self._best[leader]:.2%} (trial {leader})"
        parts = [
            f"{ended}{self._of} trials ended" + (f" ({outcomes})" if outcomes else ""),
            f"{len(self._running)} running",
            f"trials by rung {rungs}",
            best,
            f"{clock_text(time.monotonic() - self._started)} elapsed, {self._left()}",
        ]
        return " | ".join(parts)

    @property
    def _of(self) -> str:
        return f"/{self._trials}" if self._budget_seconds is None else f" of up to {self._trials}"

    def _left(self) -> str:
        """Returns the estimated time left, as text.

        The estimate uses the mean number of epochs of the trials that have ended; while these are few, it uses the
        number that ASHA is expected to allow.
        """
        most = float("inf") if self._budget_seconds is None else self._budget_seconds()
        waiting = self._trials - len(self._ended_epochs) - len(self._running) if most > 0 else 0
        if waiting == 0 and not self._running:
            return "done"
        if self._epochs == 0:
            return "expected time not known yet"
        expected = self._rungs.expected_epochs(self._trials) / self._trials
        if len(self._ended_epochs) >= FEWEST_TRIALS_FOR_ESTIMATE:
            expected = sum(self._ended_epochs) / len(self._ended_epochs)
        epochs_left = expected * (waiting + len(self._running) / 2)
        left = (time.monotonic() - self._started) * epochs_left / self._epochs
        return f"about {clock_text(min(left, most) if waiting else left)} left"

    def _view(self) -> Table:
        table = Table(box=None, padding=(0, 2), title=Text(self._status(), style="bold"), title_justify="left")
        for column in ("trial", "epoch", "validation accuracy", "loss"):
            table.add_column(column, justify="right")
        running = sorted(self._running.items())
        for index, epoch in running[:ROWS]:
            if epoch is None:
                table.add_row(str(index), "starting", "", "")
            else:
                at = f"{epoch.number}/{self._rungs.max_epochs}"
                table.add_row(str(index), at, f"{epoch.accuracy:.2%}", f"{epoch.loss:.4f}")
        if len(running) > ROWS:
            table.add_row("...", f"and {len(running) - ROWS} more", "", "")
        return table
