"""Follows a training on several workers, in the process that started them, by polling the training's folder."""

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
"""The longest pause between two looks at the folder: the longer an epoch takes, the later it may be noticed."""


@dataclass(frozen=True)
class Assignment:
    """A training to be done, and the observers that are notified of it."""

    spec: TrialSpec
    context: TrainingContext
    observers: Sequence[Observer] = ()

    @property
    def folder(self) -> Folder:
        return trial_folder(self.context.folder, self.spec.index)


class DistributedTraining:
    """A training on a group of workers, which resumes from the last epoch in its folder.

    What this object knows of the training is as of its last look at the folder, which may be remote and slow to answer.
    """

    def __init__(self, assignment: Assignment, workers: WorkerGroup) -> None:
        self.spec, self.workers = assignment.spec, workers
        self._assignment = assignment
        self.num_delivered = 0
        """How many epochs `next_epoch` has returned, or the caller knew before."""
        self.history = TrialHistory.read(assignment.folder)
        self.is_over = False
        """Whether no worker trains it and none will, so that all of its epochs are in `history`."""
        self._pause, self._next_look = POLL_SECONDS, time.monotonic()

    def permit(self, until: int) -> None:
        """Lets the workers train to the end of epoch `until`, where they wait."""
        self.workers.instruct(Instruction(self.spec, self._assignment.context, until))

    def next_epoch(self, wait: float) -> dict[str, Any] | None:
        """Returns the next entry of the history, starting at the first; None if none comes in `wait` seconds, or ever.

        Raises:
            Exception: the error that ended the workers, once all epochs before it have been returned.
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
        """Whether there is an epoch that was not returned yet; looks into the folder if a look is due."""
        known = len(self.history.epochs) > self.num_delivered
        if not known and not self.is_over and (self.workers.is_over or time.monotonic() >= self._next_look):
            self._look()
        return len(self.history.epochs) > self.num_delivered

    def _look(self) -> None:
        none_trains = self.workers.is_over  # asked first: if none does, all epochs are in the folder already
        self.history = TrialHistory.read(self._assignment.folder)
        self.is_over = none_trains or self._is_complete
        news = len(self.history.epochs) > self.num_delivered
        self._pause = POLL_SECONDS if news else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._next_look = time.monotonic() + self._pause

    @property
    def _is_complete(self) -> bool:
        return self.history.is_complete(self.spec.recipe.epochs)
