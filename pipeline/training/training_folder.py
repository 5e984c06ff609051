"""Reads and writes a training's folder: what survives the training's process, and in which order it is written."""

import time
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import torch

from pipeline.training.epoch_metrics import epoch_metrics
from pipeline.trials.folder import TrialHistory, trial_folder, write_confusion
from tune_spaces.trial_spec import TrialSpec
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import ModelCard, load_state, save_card, save_state, save_weights
from vit.files.storage import STATE_FILE
from vit.model.vision_transformer import VisionTransformer
from vit.training.fit import Epoch
from vit.training.machine import Machine


class Trained(Protocol):
    """The parts of a training that its folder keeps."""

    @property
    def epochs_done(self) -> int: ...

    @property
    def kept_model(self) -> VisionTransformer: ...

    def state_dict(self) -> dict[str, Any]: ...


class Found(NamedTuple):
    """What an earlier process left in the folder."""

    state: dict[str, Any] | None
    """The state from which the training resumes; None if there is none."""
    refused: list[str]
    """The checkpoints that could not be read, each with its path and the reason."""


@dataclass(frozen=True)
class _Best:
    """The model and the confusion matrix of the best epoch so far, if they are not saved yet."""

    model: VisionTransformer
    confusion: torch.Tensor


class TrainingFolder:
    """A training's folder: everything in it follows from one file, the state, which is written first."""

    def __init__(self, spec: TrialSpec, base: str, class_names: tuple[str, ...], writes: bool = True) -> None:
        """`base` is the path or URI under which each training has its folder; without `writes`, nothing is written."""
        self._spec, self._folder = spec, trial_folder(base, spec.index)
        self._class_names, self._writes = class_names, writes
        self._unsaved_best: _Best | None = None
        self.history = TrialHistory()

    def read(self) -> Found:
        refused: list[str] = []
        return Found(load_state(self._folder, lambda error: refused.append(str(error))), refused)

    def begin(self, trained: Trained, found: Found, normalisation: Normalisation, machine: Machine | None) -> None:
        """Takes over the history that was found, and writes the files that must be there before the next epoch.

        Args:
            trained: the training, which has loaded the state that was found.
            found: what `read` returned.
            normalisation: the normalisation of its images.
            machine: the machine on which it continues; None if nothing is left to train.
        """
        if found.state is not None:
            self.history = TrialHistory(**found.state["history"])
        self.history.refused += found.refused
        if machine is not None:
            self.history.trains_on(asdict(machine))
        if not self._writes:
            return
        if found.refused:
            self._folder.remove(STATE_FILE)  # broken: the next save would overwrite the good previous state with it
        save_card(self._folder, ModelCard(self._spec.model, normalisation, self._class_names))
        if found.state is not None:  # the earlier process may have died before writing these
            self._unsaved_best = _best_of(found.state, trained)
            self.write_derived_files()

    def add(self, epoch: Epoch, trained: Trained) -> dict[str, Any]:
        """Saves an epoch, and returns its entry in the history.

        Raises:
            OSError: the folder cannot be written; what it held before is still there.
        """
        entry = self.note(epoch, trained)
        self.save(trained)
        return entry

    def note(self, epoch: Epoch, trained: Trained) -> dict[str, Any]:
        """Adds an epoch to the history, for the next `save` to write, and returns its entry.

        If another epoch is trained before that `save`, `trained.kept_model` must be a copy.
        """
        metrics = epoch_metrics(epoch, self._class_names)
        best = self.history.add(epoch.number, int(time.time() * 1000), metrics)
        if best and self._writes:
            self._unsaved_best = _Best(trained.kept_model, epoch.validation.confusion.int())
        return self.history.epochs[-1]

    def save(self, trained: Trained) -> None:
        """Writes the state after the epochs since the last save, and the files that follow from it.

        Raises:
            OSError: the folder cannot be written; what it held before is still there.
        """
        if not self._writes:
            return
        best, is_last = self._unsaved_best, self.history.best_epoch == trained.epochs_done
        state = {
            "fit": trained.state_dict(),
            "history": vars(self.history),
            "confusion": best and best.confusion,
            "best_weights": best.model.state_dict() if best and not is_last else None,
        }
        save_state(self._folder, state)
        self.write_derived_files()

    def record_divergence(self, reason: str) -> None:
        """Records in the history why the training diverged, for the process that follows the folder."""
        self.history.diverged = reason
        if self._writes:
            self.history.write(self._folder)

    def write_derived_files(self) -> None:
        """Writes the best epoch's weights and confusion matrix, unless they are written already, and the history."""
        if self._unsaved_best is not None:
            save_weights(self._folder, self._unsaved_best.model, self.history.best_epoch)
            write_confusion(self._folder, self._unsaved_best.confusion.numpy())
            self._unsaved_best = None
        self.history.write(self._folder)


def _best_of(state: dict[str, Any], trained: Trained) -> _Best | None:
    """Returns the best epoch if a state has it: as the state's last epoch, or with its weights kept separately."""
    if state["confusion"] is None:
        return None
    model = trained.kept_model
    if state["best_weights"] is not None:
        model = VisionTransformer(model.config)
        model.load_state_dict(state["best_weights"])
    return _Best(model, state["confusion"])
