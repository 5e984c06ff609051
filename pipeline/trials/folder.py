"""What is in a trial's folder, beside the weights and the state that `vit.files.checkpoint` writes.

Imports no framework: the process that draws the figures reads it too.
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
"""Of the best epoch: rows are true classes, columns predicted ones, over the validation images."""
LEDGER_FILE = "trial.json"


@dataclass
class TrialHistory:
    """Written by whoever trains: the epochs done, and which is the best."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"epoch": number, "at": its end in ms since 1970, "metrics": {name: value}}`, in order."""
    best_epoch: int = 0
    best_accuracy: float = -1.0
    diverged: str | None = None
    """Why the training had to end, where it diverged."""
    refused: list[str] = field(default_factory=list)
    """Checkpoints that could not be read when a process took the trial over, each with its path."""
    machines: list[dict[str, Any]] = field(default_factory=list)
    """On which it trained, one after the other: each with the fields of `vit.training.machine.Machine`."""

    def add(self, epoch: int, at: int, metrics: dict[str, float]) -> bool:
        """Adds an epoch; says whether it is the best so far, the earliest of equals."""
        self.epochs.append({"epoch": epoch, "at": at, "metrics": metrics})
        if metrics["val/accuracy"] <= self.best_accuracy:
            return False
        self.best_epoch, self.best_accuracy = epoch, metrics["val/accuracy"]
        return True

    def trains_on(self, machine: dict[str, Any]) -> None:
        """A process has taken the training over; the same machine again adds nothing."""
        if machine not in self.machines[-1:]:
            self.machines.append(machine)

    def is_complete(self, epochs: int) -> bool:
        """Whether nothing of a training of so many epochs is left to do."""
        return len(self.epochs) >= epochs or self.diverged is not None

    def write(self, folder: Folder) -> None:
        # Once the trial has ended there is no state to write it from again. `asdict` would copy it, number by number.
        folder.write(HISTORY_FILE, json.dumps(vars(self)).encode(), durable=True)

    @staticmethod
    def read(folder: Folder) -> "TrialHistory":
        """The history in a folder; an empty one where the trial has not done an epoch.

        So, too, where the file is broken: whoever goes on with the training writes it again, from the state.
        """
        with suppress(ValueError, TypeError):
            return TrialHistory._parsed(folder)
        return TrialHistory()

    @staticmethod
    def read_ended(folder: Folder) -> "TrialHistory":
        """The history of a trial that has ended, whose state is gone: nobody would write a broken one again.

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
        """Raises ValueError or TypeError where the file is broken."""
        try:
            content = folder.read(HISTORY_FILE)
        except FileNotFoundError:
            return TrialHistory()
        return TrialHistory(**json.loads(content))


@dataclass
class TrialLedger:
    """Written by the driver: what the trial is, what was decided of it, and how it ended."""

    spec: dict[str, Any]
    decisions: list[dict[str, Any]] = field(default_factory=list)
    """ASHA's, each with the fields of `pipeline.trials.rungs.Decision`, in order."""
    outcome: str | None = None
    """None while it is not over; a trial that a later command may go on with is not."""
    error: str | None = None
    weights_digest: str | None = None
    """Of the weights with which a training to its full length ended (`pipeline.tracking.weights`)."""

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
    """Writes a confusion matrix (classes, classes): a file of its own, as it grows with the square of the classes."""
    buffer = io.BytesIO()
    np.save(buffer, confusion.astype(np.int32), allow_pickle=False)
    folder.write(CONFUSION_FILE, buffer.getbuffer(), durable=True)


def read_confusion(folder: Folder) -> NDArray[np.int32]:
    """Raises FileNotFoundError where the trial has not done an epoch."""
    confusion: NDArray[np.int32] = np.load(io.BytesIO(folder.read(CONFUSION_FILE)), allow_pickle=False)
    return confusion
