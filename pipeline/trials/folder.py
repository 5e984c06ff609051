"""The files in a trial's folder, except for the weights and the state, which `vit.files.checkpoint` writes.

This module imports no framework such as PyTorch, because the process that draws the figures uses it too.
"""

import io
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from vit.files.storage import Folder

HISTORY_FILE = "history.json"
CONFUSION_FILE = "confusion.npy"
"""The confusion matrix of the best epoch on the validation images: rows are true classes, columns predicted ones."""
LEDGER_FILE = "trial.json"


@dataclass
class TrialHistory:
    """The epochs that a trial has done, and which of them is the best; written by the process that trains it."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"epoch": number, "at": its end in ms since 1970, "metrics": {name: value}}`, in order."""
    best_epoch: int = 0
    best_accuracy: float = -1.0
    diverged: str | None = None
    """Why the training had to end, if it diverged."""
    refused: list[str] = field(default_factory=list)
    """Messages about checkpoints that could not be read when a process resumed the trial, each with its path."""
    machines: list[dict[str, Any]] = field(default_factory=list)
    """The machines on which it was trained, in order, each with the fields of `vit.training.machine.Machine`."""

    def add(self, epoch: int, at: int, metrics: dict[str, float]) -> bool:
        """Adds an epoch; returns whether it is the best so far. Of equally good epochs, the earliest is the best."""
        self.epochs.append({"epoch": epoch, "at": at, "metrics": metrics})
        if metrics["val/accuracy"] <= self.best_accuracy:
            return False
        self.best_epoch, self.best_accuracy = epoch, metrics["val/accuracy"]
        return True

    def trains_on(self, machine: dict[str, Any]) -> None:
        """Adds the machine on which a process starts or resumes the training, unless it is the same as before."""
        if machine not in self.machines[-1:]:
            self.machines.append(machine)

    def is_complete(self, epochs: int) -> bool:
        """Whether a training of `epochs` epochs has nothing left to do."""
        return len(self.epochs) >= epochs or self.diverged is not None

    def write(self, folder: Folder) -> None:
        # It is durable because once the trial has ended, there is no state from which to write it again. `asdict` is
        # avoided because it would copy every number.
        folder.write(HISTORY_FILE, json.dumps(vars(self)).encode(), durable=True)

    @staticmethod
    def read(folder: Folder) -> "TrialHistory":
        """Reads the history from a folder; returns an empty one if the trial has not done an epoch.

        Also returns an empty one if the file is broken: the process that resumes the training writes it again from the
        state.
        """
        with suppress(ValueError, TypeError):
            return TrialHistory._parsed(folder)
        return TrialHistory()

    @staticmethod
    def read_ended(folder: Folder) -> "TrialHistory":
        """Reads the history of a trial that has ended: its state is gone, so a broken history cannot be written again.

        Raises:
            PipelineError: the file is broken.
        """
        try:
            return TrialHistory._parsed(folder)
        except (ValueError, TypeError) as error:
            raise PipelineError(
                f"{folder.uri}/{HISTORY_FILE} is broken, and its trial has ended: remove its folder, and the trial is "
                "run again"
            ) from error

    @staticmethod
    def _parsed(folder: Folder) -> "TrialHistory":
        """Raises ValueError or TypeError if the file is broken."""
        try:
            content = folder.read(HISTORY_FILE)
        except FileNotFoundError:
            return TrialHistory()
        return TrialHistory(**json.loads(content))


@dataclass
class TrialLedger:
    """A trial's spec, ASHA's decisions on it, and how it ended; written by the driver."""

    spec: dict[str, Any]
    decisions: list[dict[str, Any]] = field(default_factory=list)
    """ASHA's, each with the fields of `pipeline.trials.rungs.Decision`, in order."""
    outcome: str | None = None
    """None while the trial is not over; one that a later command may resume is not over."""
    error: str | None = None
    weights_digest: str | None = None
    """The digest of the weights with which a full-length training ended (`pipeline.tracking.weights`)."""

    def write(self, folder: Folder) -> None:
        folder.write(LEDGER_FILE, json.dumps(asdict(self)).encode(), durable=True)

    @staticmethod
    def read(folder: Folder) -> "TrialLedger | None":
        if not folder.exists(LEDGER_FILE):
            return None
        try:
            return TrialLedger(**json.loads(folder.read(LEDGER_FILE)))
        except (ValueError, TypeError) as error:
            raise PipelineError(
                f"{folder.uri}/{LEDGER_FILE} is broken ({error}): remove its folder, and the trial is run again"
            ) from error


def trial_folder(base: str, index: int) -> Folder:
    """The folder of trial `index` under the sweep's folder of trials (a path or URI)."""
    return Folder(base) / f"{index:05d}"


def write_confusion(folder: Folder, confusion: NDArray[np.integer[Any]]) -> None:
    """Writes a confusion matrix (classes, classes).

    It has a file of its own, because it grows with the square of the number of classes.
    """
    buffer = io.BytesIO()
    np.save(buffer, confusion.astype(np.int32), allow_pickle=False)
    folder.write(CONFUSION_FILE, buffer.getbuffer(), durable=True)


def read_confusion(folder: Folder) -> NDArray[np.int32]:
    """Reads the confusion matrix (classes, classes); raises FileNotFoundError if the trial has not done an epoch."""
    confusion: NDArray[np.int32] = np.load(io.BytesIO(folder.read(CONFUSION_FILE)), allow_pickle=False)
    return confusion
