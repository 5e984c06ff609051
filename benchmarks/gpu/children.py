"""Runs functions in processes of their own, since they may hang, run out of memory or share the device."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any, TypeVar

J = TypeVar("J")
T = TypeVar("T")
Work = Callable[[J, Barrier], T]
"""A function of a job, which is pickled, and of a barrier for all processes that run it at the same time."""


class ChildError(RuntimeError):
    """Something went wrong in another process; the message says what."""


def in_children(work: Work[J, T], job: J, count: int, timeout: float) -> list[T]:
    """Runs `work` in `count` processes at the same time, and returns the result of each.

    Raises:
        ChildError: one of them failed, or they took more than `timeout` seconds; all have been ended by then.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    children = [context.Process(target=_answer, args=(work, job, barrier, sender)) for _, sender in pipes]
    end = time.monotonic() + timeout
    for child, (_, sender) in zip(children, pipes, strict=True):
        child.start()
        sender.close()  # so that the pipe ends if the child dies
    try:
        answers = [_received(receiver, child, end) for child, (receiver, _) in zip(children, pipes, strict=True)]
    finally:
        for child in children:
            child.kill()  # it has answered, or never will
            child.join()
    errors = [error for _, error in answers if error]
    if errors:
        raise ChildError("; ".join(errors))
    return [result for result, _ in answers]


def _received(receiver: Connection, child: BaseProcess, end: float) -> tuple[Any, str]:
    """A child's result, and the error if there was one."""
    if not receiver.poll(max(0.0, end - time.monotonic())):
        return None, "it took too long"
    try:
        answer: tuple[Any, str] = receiver.recv()
    except EOFError:
        child.join()
        return None, f"the process ended with {child.exitcode}"
    return answer


def _answer(work: Work[J, T], job: J, barrier: Barrier, sender: Connection) -> None:
    answer: tuple[T | None, str]
    try:
        answer = work(job, barrier), ""
    except Exception as error:  # the parent raises it
        barrier.abort()
        answer = None, f"{type(error).__name__}: {error}"
    sender.send(answer)
