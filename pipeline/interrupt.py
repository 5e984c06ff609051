"""Ctrl-C and SIGTERM: the first asks, the second ends at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupt:
    """Remembers that the user wants to stop; within `deferred()` the work may come to an orderly end by itself."""

    def __init__(self) -> None:
        self.requested = False
        self._deferring = False
        self._acknowledge: Callable[[], object] = bool

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
    def deferred(self, acknowledge: Callable[[], object] = bool) -> Iterator[None]:
        """Within, the first signal only sets `requested` and calls `acknowledge`, so that the user knows."""
        self._deferring, self._acknowledge = True, acknowledge
        try:
            yield
        finally:
            self._deferring = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or not self._deferring:
            raise KeyboardInterrupt
        self._acknowledge()
