"""Runs a training step through torch.compile and, on a GPU, as one CUDA graph that is replayed."""

import time
from collections.abc import Callable

import torch

from vit.fused.epoch_tensors import EpochTensors
from vit.fused.hyperparameters import Hyperparameters
from vit.fused.state import State
from vit.fused.step import TrainStep
from vit.training.compilation import compiled

Step = Callable[[State, EpochTensors, Hyperparameters], None]
WARM_UPS = 3
"""How often a function runs before it is captured as a CUDA graph, as torch's documentation asks."""


class CompiledStep:
    """A training step compiled for given tensors: other shapes or, on a GPU, other tensors need a new one.

    The step is compiled as a whole, with nothing left to the interpreter; if that is not possible, it is an error.
    """

    def __init__(self, step: TrainStep, state: State, epoch: EpochTensors, hyperparameters: Hyperparameters) -> None:
        """Compiles the step, which runs it, and then restores the state and the counts."""
        started = time.perf_counter()
        self._run: Step = compiled(step, fullgraph=True, dynamic=False)
        self._graph: torch.cuda.CUDAGraph | None = None
        kept = [tensor.clone() for tensor in (*state, *epoch.counted)]
        if state.weights.is_cuda:
            self._graph = captured(lambda: self._run(state, epoch, hyperparameters))
        else:
            self._run(state, epoch, hyperparameters)
        for tensor, before in zip((*state, *epoch.counted), kept, strict=True):
            tensor.copy_(before)
        self.seconds = time.perf_counter() - started
        """The seconds that compiling took."""

    def __call__(self, state: State, epoch: EpochTensors, hyperparameters: Hyperparameters) -> None:
        if self._graph is None:
            self._run(state, epoch, hyperparameters)
        else:
            self._graph.replay()  # reads and writes the tensors that it was captured with


def captured(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Captures what `run` launches on the GPU as a graph to replay; runs it a few times first, as a warm-up."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph
