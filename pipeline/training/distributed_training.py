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

LONGEST_PAUSE_SECONDS = 2.0
"""The longer an epoch takes, the later it may be heard of."""


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
    """Goes on from the folder's last epoch.

    What it says of the training is of its last look at the folder, which may be far away and take long to answer.
    """

    def __init__(self, assignment: Assignment, workers: WorkerGroup) -> None:
        self.spec, self.workers = assignment.spec, workers
        self._assignment = assignment
        self.num_delivered = 0
        """Epochs already returned by `next_epoch`, or known to the caller before."""
        self.history = TrialHistory.read(assignment.folder)
        self.is_over = False
        """No worker trains it, and none will: all of its epochs are in `history`."""
        self._pause, self._next_look = POLL_SECONDS, time.monotonic()

    def permit(self, until: int) -> None:
        """Lets the workers train to the end of epoch `until`; there they wait."""
        self.workers.instruct(Instruction(self.spec, self._assignment.context, until))

    def next_epoch(self, wait: float) -> dict[str, Any] | None:
        """The next entry of the history, from its first; None where there is none after `wait` seconds, or no more.

        Raises:
            Exception: what ended the workers, once all epochs before it have been returned.
        """
        deadline = time.monotonic() + wait
        while not self._has_news():
            if self.is_over and self.workers.error is not None and not self._is_complete:
                raise self.workers.error
            if self.is_over or time.monotonic() > deadline:
                return None
            time.sleep(POLL_SECONDS)
        self.num_delivered += 1
        return self.history.epochs[self.num_delivered - 1]

    def _has_news(self) -> bool:
        """Whether the folder has an epoch that was not returned yet; looks there once that is due."""
        known = len(self.history.epochs) > self.num_delivered
        if not known and not self.is_over and (self.workers.is_over or time.monotonic() >= self._next_look):
            self._look()
        return len(self.history.epochs) > self.num_delivered

    def _look(self) -> None:
        none_trains = self.workers.is_over  # asked first: where it is, all epochs are in the folder already
        self.history = TrialHistory.read(self._assignment.folder)
        self.is_over = none_trains or self._is_complete
        news = len(self.history.epochs) > self.num_delivered
        self._pause = POLL_SECONDS if news else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._next_look = time.monotonic() + self._pause

    @property
    def _is_complete(self) -> bool:
        return self.history.is_complete(self.spec.recipe.epochs)
