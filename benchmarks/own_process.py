"""Measuring in a process of its own, so that it begins with nothing; its death is an error and no wait."""

import multiprocessing
from collections.abc import Callable
from typing import Any


def in_its_own_process(measure: Callable[..., None], *arguments: object) -> Any:
    """What `measure` sends, which is called with the arguments and a connection.

    Raises:
        ChildProcessError: it ended before it sent anything.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=measure, args=(*arguments, sender))
    process.start()
    sender.close()  # so that a process that dies is told by the end of the pipe
    try:
        return receiver.recv()
    except EOFError:
        process.join()  # until then it has no exit code
        raise ChildProcessError(f"the process that measures ended with {process.exitcode}") from None
    finally:
        process.join()
