"""A training by several workers, as the one sees it who started them: it follows the training's folder."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.training.instruction import SECONDS_BETWEEN_LOOKS, Instruction
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import WorkerGroup
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.observers import Observer
from tune_spaces.space import TrialSpec
from vit.files.storage import Folder

MOST_SECONDS_BETWEEN_LOOKS = 2.0
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
        self.num_given = 0
        """Epochs that `next_epoch` has given, or that its caller knew before."""
        self.history = TrialHistory.read(assignment.folder)
        self.over = False
        """No worker trains it, and none will: all of its epochs stand in `history`."""
        self._pause, self._next_look = SECONDS_BETWEEN_LOOKS, time.monotonic()

    def permit(self, until: int) -> None:
        """Lets the workers train to the end of epoch `until`; there they wait."""
        self.workers.instruct(Instruction(self.spec, self._assignment.context, until))

    def next_epoch(self, wait: float) -> dict[str, Any] | None:
        """The next entry of the history, from its first; None where there is none after `wait` seconds, or no more.

        Raises:
            Exception: what ended the workers, once all epochs before are given.
        """
        deadline = time.monotonic() + wait
        while not self._has_news():
            if self.over and self.workers.error is not None and not self._is_complete:
                raise self.workers.error
            if self.over or time.monotonic() > deadline:
                return None
            time.sleep(SECONDS_BETWEEN_LOOKS)
        self.num_given += 1
        return self.history.epochs[self.num_given - 1]

    def _has_news(self) -> bool:
        """Whether the folder has an epoch that was not given; looks there once that is due."""
        known = len(self.history.epochs) > self.num_given
        if not known and not self.over and (self.workers.is_over or time.monotonic() >= self._next_look):
            self._look()
        return len(self.history.epochs) > self.num_given

    def _look(self) -> None:
        none_trains = self.workers.is_over  # asked first: where it is, all epochs stand in the folder already
        self.history = TrialHistory.read(self._assignment.folder)
        self.over = none_trains or self._is_complete
        news = len(self.history.epochs) > self.num_given
        self._pause = SECONDS_BETWEEN_LOOKS if news else min(2 * self._pause, MOST_SECONDS_BETWEEN_LOOKS)
        self._next_look = time.monotonic() + self._pause

    @property
    def _is_complete(self) -> bool:
        return self.history.is_complete(self.spec.recipe.epochs)
