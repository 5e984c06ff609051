"""Runs jobs in threads of their own, and reports when each has ended."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Jobs(Generic[T]):
    """Jobs that run at the same time, each in a daemon thread, so that a second Ctrl-C need not wait for them."""

    def __init__(self) -> None:
        self._ends: queue.SimpleQueue[tuple[str, T | BaseException]] = queue.SimpleQueue()

    def start(self, name: str, work: Callable[[], T]) -> None:
        def run() -> None:
            try:
                self._ends.put((name, work()))
            except BaseException as error:  # any error ends the job, and whoever waits must learn of it
                self._ends.put((name, error))

        threading.Thread(target=run, name=name, daemon=True).start()

    def next_end(self) -> tuple[str, T | BaseException]:
        """Waits for a job to end, and returns its name with what it returned or raised."""
        return self._ends.get()
