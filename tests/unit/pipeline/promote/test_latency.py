"""Tests that a slower model is measured as slower, and that the process gets its number of threads back."""

import time

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.promote.latency import measure_latencies


class Waiting(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[int] = set()

    def forward(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape))
        self.threads.add(torch.get_num_threads())
        time.sleep(self.seconds)
        return images


def test_the_slower_model_is_seen_to_be_slower() -> None:
    quick, slow = Waiting(0.002), Waiting(0.02)
    threads = torch.get_num_threads()
    first, second = measure_latencies([quick, slow], np.zeros((3, 8, 8, 1), np.uint8), batch=32)
    assert first.p50 >= 2
    assert 20 <= second.p50 <= second.p95
    assert np.median(second.rounds / first.rounds) > 2
    assert set(quick.shapes) == {(32, 8, 8, 1)}  # the three images are repeated to fill a batch
    assert len(quick.shapes) == len(slow.shapes) >= 15
    assert (quick.threads, torch.get_num_threads()) == ({1}, threads)
