"""Work in threads of its own, which say when they have ended."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Jobs(Generic[T]):
    """Jobs side by side, each in a daemon thread: who presses Ctrl-C twice does not wait for them."""

    def __init__(self) -> None:
        self._ends: queue.SimpleQueue[tuple[str, T | BaseException]] = queue.SimpleQueue()

    def start(self, name: str, work: Callable[[], T]) -> None:
        def run() -> None:
            try:
                self._ends.put((name, work()))
            except BaseException as error:  # whatever it is, it is the job's end, and whoever waits hears of it
                self._ends.put((name, error))

        threading.Thread(target=run, name=name, daemon=True).start()

    def next_end(self) -> tuple[str, T | BaseException]:
        """Waits for a job to end; gives its name, and what it gave or raised."""
        return self._ends.get()
