"""Runs a measurement in a fresh process; if that process dies, it is an error rather than an endless wait."""

import multiprocessing
from collections.abc import Callable
from typing import Any


def in_its_own_process(measure: Callable[..., None], *arguments: object) -> Any:
    """Calls `measure` with the arguments and a connection in a process of its own; returns what it sends.

    Raises:
        ChildProcessError: the process ended before it sent anything.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=measure, args=(*arguments, sender))
    process.start()
    sender.close()  # so that the pipe ends if the process dies
    try:
        return receiver.recv()
    except EOFError:
        process.join()  # until then it has no exit code
        raise ChildProcessError(f"the process that measures ended with {process.exitcode}") from None
    finally:
        process.join()
