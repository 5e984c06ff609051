"""A training on several workers, seen from the process that started them: it polls the training's folder."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.training.instruction import POLL_SECONDS, Instruction
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import WorkerGroup
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.observers import Observer
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import Folder


@dataclass(frozen=True)
class Assignment:
    """A training to be done, and who hears of it."""

    spec: TrialSpec
    context: TrainingContext
    observers: Sequence[Observer] = ()

    @property
    def folder(self) -> Folder:
        return trial_folder(self.context.folder, self.spec.index)


class DistributedTraining:
    """Goes on from the folder's last epoch."""

    def __init__(self, assignment: Assignment, workers: WorkerGroup) -> None:
        self.spec, self.workers = assignment.spec, workers
        self._assignment = assignment
        self.num_delivered = 0
        """Epochs already returned by `next_epoch`, or known to the caller before."""

    @property
    def history(self) -> TrialHistory:
        return TrialHistory.read(self._assignment.folder)

    def permit(self, until: int) -> None:
        """Lets the workers train to the end of epoch `until`; there they wait."""
        self.workers.instruct(Instruction(self.spec, self._assignment.context, until))

    def next_epoch(self, wait: float) -> dict[str, Any] | None:
        """The next entry of the history, from its first; None where there is none after `wait` seconds, or no more.

        Raises:
            Exception: what ended the workers, once all epochs before it have been returned.
        """
        deadline = time.monotonic() + wait
        while True:
            none_trains, history = self.workers.is_over, self.history
            if len(history.epochs) > self.num_delivered:
                self.num_delivered += 1
                return history.epochs[self.num_delivered - 1]
            if history.is_complete(self.spec.recipe.epochs):
                return None
            if none_trains and self.workers.error is not None:
                raise self.workers.error
            if none_trains or time.monotonic() > deadline:
                return None
            time.sleep(POLL_SECONDS)

    @property
    def is_over(self) -> bool:
        """No worker trains it, and none will."""
        return self.workers.is_over or self.history.is_complete(self.spec.recipe.epochs)
