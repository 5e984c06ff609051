"""Runs on each worker of a group: reads the instruction, trains an epoch or waits, and reads it again."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from ray.train.torch import get_device

from pipeline.training.instruction import POLL_SECONDS, Instruction, add_start
from pipeline.training.training import LoadedData, Training
from pipeline.trials.folder import TrialHistory
from vit.files.storage import Folder
from vit.training.fit import NonFiniteLossError
from vit.training.parallel import Workers
from vit.training.runtime import Runtime


def train_as_instructed(config: dict[str, Any]) -> None:
    """The loop that Ray Train calls, with `config["group_folder"]` (URI) and `config["data"]` (SharedData)."""
    folder, device, workers = Folder(config["group_folder"]), get_device(), Workers.joined()
    if workers.rank == 0:
        add_start(folder)
    data = LoadedData.of(config["data"].get(), device)
    training: _InstructedTraining | None = None
    for instruction in _instructions(folder, workers, device):
        if training is None or training.folder.uri != instruction.folder.uri:
            training = _InstructedTraining(instruction, data, device, workers)
        if training.goes_on(instruction.until):
            training.run_epoch(instruction.until)
        else:
            time.sleep(POLL_SECONDS)


def _instructions(folder: Folder, workers: Workers, device: torch.device) -> Iterator[Instruction]:
    """Yields the instruction, read again each time, until it is gone. The first worker reads it for all."""
    while True:
        read = Instruction.read(folder) if workers.rank == 0 else None
        instruction = workers.first(read, device)
        if instruction is None:
            return
        yield instruction


class _InstructedTraining:
    """Builds its `Training` only when an epoch is due: an ended training may have no state left to resume from."""

    def __init__(self, instruction: Instruction, data: LoadedData, device: torch.device, workers: Workers) -> None:
        self.folder = instruction.folder
        self._spec, self._context = instruction.spec, instruction.context
        self._data, self._device, self._workers = data, device, workers
        # One worker reads for all: other nodes may see the folder as it was a while ago.
        self._history = workers.first(TrialHistory.read(self.folder) if workers.rank == 0 else TrialHistory(), device)
        self._training: Training | None = None

    def goes_on(self, until: int) -> bool:
        history = self._history if self._training is None else self._training.history
        return len(history.epochs) < until and not history.is_complete(self._spec.recipe.epochs)

    def run_epoch(self, until: int) -> None:
        if self._training is None:
            runtime = Runtime(self._device, self._context.precision, self._context.compile)
            self._training = Training(self._spec, self._data, self._context, runtime, self._workers)
            if not self.goes_on(until):  # the state is ahead of the history: no epoch is due after all
                return
        try:
            self._training.run_epoch()
        except NonFiniteLossError as error:  # all workers raise it in the same epoch
            self._training.record_divergence(str(error))
