"""Times calls and epochs on the device."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.gpu.setting import Scale
from vit.fused.compilation import captured

CALLS = 20
"""How many calls are captured in one graph, so that the time to launch it does not matter."""


@dataclass(frozen=True)
class Timed:
    """A median of n measurements."""

    seconds: float
    n: int


def now(device: torch.device) -> float:
    """The time, once the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed_calls(call: Callable[[], object], device: torch.device, rounds: int) -> Timed:
    """Times one call among many; on a GPU without the launching of its kernels, which a captured graph avoids."""
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
    """The median of epochs, each returning its own seconds, after warm-ups; fewer of both where they take long."""
    epoch()  # compiles, if anything is compiled, which does not count against the time for epochs
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
