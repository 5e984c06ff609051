"""What stands in a trial's folder, beside the weights and the state that `vit.checkpoint` writes.

Imports no framework: the process that draws the figures reads it too.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from vit.storage import Folder

HISTORY_FILE = "history.json"
LEDGER_FILE = "trial.json"


@dataclass
class TrialHistory:
    """Written by whoever trains: the epochs done, and what the best one mistook for what."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"epoch": number, "at": its end in ms since 1970, "metrics": {name: value}}`, in order."""
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_confusion: list[list[int]] = field(default_factory=list)
    """Rows are true classes, columns predicted ones, over the validation images."""
    diverged: str | None = None
    """Why the training had to end, where it diverged."""
    refused: list[str] = field(default_factory=list)
    """Checkpoints that could not be read when a process took the trial over, each with its path."""

    def add(self, epoch: int, at: int, metrics: dict[str, float], confusion: list[list[int]]) -> bool:
        """Adds an epoch; says whether it is the best so far, the earliest of equals."""
        self.epochs.append({"epoch": epoch, "at": at, "metrics": metrics})
        if metrics["val/accuracy"] <= self.best_accuracy:
            return False
        self.best_epoch, self.best_accuracy, self.best_confusion = epoch, metrics["val/accuracy"], confusion
        return True

    def write(self, folder: Folder) -> None:
        folder.write(HISTORY_FILE, json.dumps(asdict(self)).encode())

    @staticmethod
    def read(folder: Folder) -> "TrialHistory":
        """The history in a folder; an empty one where the trial has not done an epoch."""
        if not folder.exists(HISTORY_FILE):
            return TrialHistory()
        return TrialHistory(**json.loads(folder.read(HISTORY_FILE)))


@dataclass
class TrialLedger:
    """Written by the driver: what the trial is, what was decided of it, and how it ended."""

    spec: dict[str, Any]
    decisions: list[dict[str, Any]] = field(default_factory=list)
    """ASHA's, each with the fields of `pipeline.trials.rungs.Decision`, in order."""
    outcome: str | None = None
    """None while it is not over; an interrupted trial is not."""
    error: str | None = None

    def write(self, folder: Folder) -> None:
        folder.write(LEDGER_FILE, json.dumps(asdict(self)).encode())

    @staticmethod
    def read(folder: Folder) -> "TrialLedger | None":
        if not folder.exists(LEDGER_FILE):
            return None
        return TrialLedger(**json.loads(folder.read(LEDGER_FILE)))


def trial_folder(base: str, index: int) -> Folder:
    """The folder of trial `index` under the sweep's folder of trials (a path or URI)."""
    return Folder(base) / f"{index:05d}"
