"""Ctrl-C and SIGTERM: the first signal asks the command to stop, the second ends it immediately."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


class Interrupt:
    """Remembers that the user wants to stop; within `deferred()`, the work can see this and end in an orderly way."""

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
        """Within the block, the first signal only sets `requested`, and tells the user that the command is stopping."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or not self._deferring:
            raise KeyboardInterrupt
        # Not with `print`: the signal may arrive while `print` is writing another line. The reader of a pipe may have
        # ended by the same signal.
        with suppress(OSError):
            os.write(1, b"stopping at the end of the epoch (Ctrl-C again: immediately)\n")
