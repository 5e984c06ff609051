"""How long models take to answer, measured side by side."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

BATCHES = (1, 32)
"""Images in a request."""
_WARM_UP, _FEWEST, _MOST = 5, 10, 40
"""Rounds."""
_SECONDS = 10.0
"""After which no round begins, but for the fewest."""


@dataclass(frozen=True)
class Latency:
    """Of one model's answers to requests of one size."""

    rounds: NDArray[np.float64]
    """(rounds,) milliseconds; the other models' rounds are of the same moments."""

    @property
    def p50(self) -> float:
        return float(np.quantile(self.rounds, 0.5))

    @property
    def p95(self) -> float:
        return float(np.quantile(self.rounds, 0.95))


def measure_latencies(programs: Sequence[nn.Module], images: NDArray[np.uint8], batch: int) -> list[Latency]:
    """Asks the models in turn, so that whatever else the machine does meets all of them alike.

    Each answers on one core: on a busy machine, cores that wait for each other make most of the time.

    Args:
        programs: take uint8 images (N, H, W, C).
        images: some such; repeated if they are fewer than `batch`.
        batch: images in a request.
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
