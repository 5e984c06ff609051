"""Measures how long models take to answer, side by side."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

BATCHES = (1, 32)
"""Numbers of images in a request."""
_WARM_UP, _FEWEST, _MOST = 5, 10, 40
"""Numbers of rounds: those before the measurement, the fewest measured, the most measured."""
_SECONDS = 10.0
"""The seconds after which no further round begins, unless there are fewer than `_FEWEST`."""


@dataclass(frozen=True)
class Latency:
    """How long one model took to answer requests of one size."""

    rounds: NDArray[np.float64]
    """(rounds,) milliseconds; in each round, all models were measured one right after the other."""

    @property
    def p50(self) -> float:
        return float(np.quantile(self.rounds, 0.5))

    @property
    def p95(self) -> float:
        return float(np.quantile(self.rounds, 0.95))


def measure_latencies(programs: Sequence[nn.Module], images: NDArray[np.uint8], batch: int) -> list[Latency]:
    """Measures the models in turn, round by round, so that other load on the machine affects all of them alike.

    Each model runs on one core: with several cores on a busy machine, most of the time would be spent by cores that
    wait for each other.

    Args:
        programs: the models, which take uint8 images (N, H, W, C).
        images: images of this kind; they are repeated if there are fewer than `batch`.
        batch: the number of images in a request.
    """
    request = torch.from_numpy(np.resize(images, (batch, *images.shape[1:])))
    with torch.inference_mode(), _one_core():
        for _ in range(_WARM_UP):
            for program in programs:
                program(request)
        rounds: list[list[float]] = []
        end = time.monotonic() + _SECONDS
        while len(rounds) < _FEWEST or (len(rounds) < _MOST and time.monotonic() < end):
            rounds.append([_milliseconds(program, request) for program in programs])
    return [Latency(np.array(of_one)) for of_one in zip(*rounds, strict=True)]


def _milliseconds(program: nn.Module, request: torch.Tensor) -> float:
    start = time.perf_counter()
    program(request)
    return 1000 * (time.perf_counter() - start)


@contextmanager
def _one_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
