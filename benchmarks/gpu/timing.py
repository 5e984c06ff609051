"""Seconds that things take on the device."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.gpu.setting import Scale
from vit.fused.compilation import captured

CALLS = 20
"""Of one thing in a graph, so that launching it does not count."""


@dataclass(frozen=True)
class Timed:
    """A median of n."""

    seconds: float
    n: int


def now(device: torch.device) -> float:
    """When the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed_calls(call: Callable[[], object], device: torch.device, rounds: int) -> Timed:
    """Of one call among many; on a GPU without launching its kernels, which a captured graph leaves out."""
    several = partial(_several, call)
    repeat = captured(several).replay if device.type == "cuda" else several
    repeat()
    seconds = []
    for _ in range(rounds):
        started = now(device)
        repeat()
        seconds.append((now(device) - started) / CALLS)
    return Timed(statistics.median(seconds), rounds)


def _several(call: Callable[[], object]) -> None:
    for _ in range(CALLS):
        call()


def timed_epochs(epoch: Callable[[], float], scale: Scale) -> Timed:
    """The median of epochs that give their own seconds, after warm-ups; fewer of both where they take long."""
    epoch()  # compiles, where anything is compiled, which no allowance for epochs has to pay for
    started = time.perf_counter()

    def is_late(share: float) -> bool:
        return time.perf_counter() - started > share * scale.seconds

    for _ in range(scale.warm_ups - 1):
        epoch()
        if is_late(0.3):
            break
    seconds = [epoch()]
    while len(seconds) < scale.epochs and not is_late(1.0):
        seconds.append(epoch())
    return Timed(statistics.median(seconds), len(seconds))
