"""Running a training step through torch.compile and, on a GPU, as one replayed CUDA graph."""

import time
from collections.abc import Callable

import torch

from vit.fused.epoch_tensors import EpochTensors
from vit.fused.hyperparameters import Hyperparameters
from vit.fused.state import State
from vit.fused.step import TrainStep

Step = Callable[[State, EpochTensors, Hyperparameters], None]
WARM_UPS = 3
"""Before a graph is captured, as torch asks."""


class CompiledStep:
    """The step for the tensors it was made for: other shapes or, on a GPU, other tensors need another.

    Nothing of it is left to the interpreter: what cannot be compiled as a whole is an error.
    """

    def __init__(self, step: TrainStep, state: State, epoch: EpochTensors, hyperparameters: Hyperparameters) -> None:
        """Compiles, and leaves state and counts as they were."""
        started = time.perf_counter()
        # Dynamo keeps a few variants of a function for all who compile it and then gives up on further ones.
        torch.compiler.reset()
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._run: Step = torch.compile(step, fullgraph=True, dynamic=False)
        self._graph: torch.cuda.CUDAGraph | None = None
        kept = [tensor.clone() for tensor in (*state, *epoch.counted)]
        if state.weights.is_cuda:
            self._graph = self._captured(state, epoch, hyperparameters)
        else:
            self._run(state, epoch, hyperparameters)
        for tensor, before in zip((*state, *epoch.counted), kept, strict=True):
            tensor.copy_(before)
        self.seconds = time.perf_counter() - started
        """That compiling took."""

    def __call__(self, state: State, epoch: EpochTensors, hyperparameters: Hyperparameters) -> None:
        if self._graph is None:
            self._run(state, epoch, hyperparameters)
        else:
            self._graph.replay()  # reads and writes the tensors that it was captured with

    def _captured(self, state: State, epoch: EpochTensors, hyperparameters: Hyperparameters) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._run(state, epoch, hyperparameters)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._run(state, epoch, hyperparameters)
        return graph
