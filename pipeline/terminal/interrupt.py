"""Ctrl-C and SIGTERM: the first asks, the second ends at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupt:
    """Remembers that the user wants to stop; within `deferred()` the work may come to an orderly end by itself."""

    def __init__(self) -> None:
        self.requested = False
        self._deferring = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handles the signals in place of Python and Ray; call it after Ray has set its own handlers."""
        before: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, the first signal only sets `requested`, and says so."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or not self._deferring:
            raise KeyboardInterrupt
        # Past `print`: the signal may come in the middle of another line's writing.
        os.write(1, b"stopping at the end of the epoch (once more: at once)\n")
