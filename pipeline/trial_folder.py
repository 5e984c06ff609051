"""What stands in a trial's folder, beside the weights and the state that `vit.checkpoint` writes.

Imports no framework: the process that draws the figures reads it too.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from vit.storage import Folder

HISTORY_FILE = "history.json"


@dataclass
class TrialHistory:
    """The epochs that a trial has done, and what its best one mistook for what."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"epoch": number, <metric>: value, ...}`, in order."""
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_confusion: list[list[int]] = field(default_factory=list)
    """Rows are true classes, columns predicted ones, over the validation images."""

    def add(self, epoch: int, metrics: dict[str, float], confusion: list[list[int]]) -> bool:
        """Adds an epoch; says whether it is the best so far, the earliest of equals."""
        self.epochs.append({"epoch": epoch, **metrics})
        if metrics["val/accuracy"] <= self.best_accuracy:
            return False
        self.best_epoch, self.best_accuracy, self.best_confusion = epoch, metrics["val/accuracy"], confusion
        return True

    def write(self, folder: Folder) -> None:
        folder.write(HISTORY_FILE, json.dumps(asdict(self)).encode())

    @staticmethod
    def read(folder: Folder) -> "TrialHistory":
        return TrialHistory(**json.loads(folder.read(HISTORY_FILE)))


def trial_folder(base: str, index: int) -> Folder:
    """The folder of trial `index` under the sweep's folder of trials (a path or URI)."""
    return Folder(base) / f"{index:05d}"
