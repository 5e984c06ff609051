"""Shows the progress of the predictions: as a bar on a terminal, as an occasional line elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.terminal.durations import clock_text
from pipeline.terminal.progress import SECONDS_BETWEEN_LINES


class PredictionProgress:
    """Shows the progress of the work; to be used as a context manager around it."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images, {task.fields[note]},"), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("left"), console=console, transient=True)
        self._task = self._bar.add_task("", total=total, note="starting")
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> "PredictionProgress":
        self._started = self._last_line = time.monotonic()
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def show(self, done: int, broken: int) -> None:
        """Shows that `done` images have been processed, of which `broken` could not be read."""
        now = time.monotonic()
        rate = done / (now - self._started)
        note = f"{rate:,.0f} a second" + (f", {broken:,} unreadable" if broken else "")
        self._bar.update(self._task, completed=done, note=note)
        is_due = done < self._total and now - self._last_line > SECONDS_BETWEEN_LINES
        if is_due and not self._console.is_terminal:
            self._last_line = now
            left = clock_text((self._total - done) / rate)
            self._console.out(f"{done:,} of {self._total:,} images, {note}, about {left} left", highlight=False)
