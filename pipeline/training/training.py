"""A training run that outlives its process: every epoch is in the run's folder before it is reported.

The same under a trial in its Tune actor and under each worker of Ray Train; knows neither.
"""

import re
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pipeline.trials.folder import TrialHistory, trial_folder, write_confusion
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import ImageArrays
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import ModelCard, load_state, save_card, save_state, save_weights
from vit.files.storage import STATE_FILE
from vit.training.fit import Epoch, Fit
from vit.training.machine import Machine
from vit.training.metrics import Counts
from vit.training.parallel import Workers
from vit.training.precision import Precision
from vit.training.runtime import Runtime, Split

LONGEST_CLASS_NAME = 200
"""Of a metric's name, which has at most 250 letters."""


@dataclass(frozen=True)
class TrainingData:
    """What is trained on and chosen by; the test images are not in it."""

    train: ImageArrays
    validation: ImageArrays
    normalisation: Normalisation
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class TrainingContext:
    """What all trainings of a command share besides the data."""

    folder: str
    """Path or URI under which each training has its own folder."""
    precision: Precision
    compile: bool
    gpus: float = 0
    """That each training was given: a process may see some that are others'. Below 1 it is a share of one."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if self.gpus else "cpu")

    @property
    def shares_gpu(self) -> bool:
        """Whether others train on the same GPU."""
        return 0 < self.gpus < 1


@dataclass(frozen=True)
class LoadedData:
    """Training data on this process's device."""

    train: Split
    validation: Split
    normalisation: Normalisation
    class_names: tuple[str, ...]

    @staticmethod
    def of(data: TrainingData, device: torch.device) -> "LoadedData":
        train, validation = Split.of(data.train, device), Split.of(data.validation, device)
        return LoadedData(train, validation, data.normalisation, data.class_names)


class Training:
    """A `Fit` and its folder. Goes on from the folder's last epoch where there is one.

    Of several workers, the first reads the folder for all, which may see it differently for a while, and writes it.
    """

    def __init__(
        self, spec: TrialSpec, data: LoadedData, context: TrainingContext, runtime: Runtime, workers: Workers
    ) -> None:
        self._folder = trial_folder(context.folder, spec.index)
        self._class_names = data.class_names
        self._writes = workers.rank == 0
        self._fit = Fit(
            spec.model, spec.recipe, runtime, data.train, data.validation, data.normalisation, spec.seed, workers
        )
        self.history = TrialHistory()
        refused: list[str] = []
        state = load_state(self._folder, lambda error: refused.append(str(error))) if self._writes else None
        state, refused = workers.first((state, refused), runtime.device)
        confusion: torch.Tensor | None = None
        if state is not None:
            self._fit.load_state_dict(state["fit"])
            self.history, confusion = TrialHistory(**state["history"]), state["confusion"]
        self.history.refused += refused
        if not self.is_done:
            self.history.trains_on(asdict(Machine.here(runtime.device, workers.size)))
        if self._writes:
            if refused:
                self._folder.remove(STATE_FILE)  # or the next save would put it in the place of the one that was good
            save_card(self._folder, ModelCard(spec.model, data.normalisation, data.class_names))
            if self._fit.epochs_done:
                self._write_derived_files(confusion)  # the previous process may have died before writing these

    def _write_derived_files(self, confusion: torch.Tensor | None) -> None:
        """Writes weights, confusion matrix and history, which all follow from the saved state.

        `confusion` is the last epoch's where that is the best; None leaves weights and matrix as they are.
        """
        if confusion is not None:
            save_weights(self._folder, self._fit.kept_model, self._fit.epochs_done)
            write_confusion(self._folder, confusion.numpy())
        self.history.write(self._folder)

    @property
    def is_done(self) -> bool:
        return self._fit.epochs_done >= self._fit.recipe.epochs

    def run_epoch(self) -> dict[str, Any]:
        """Trains an epoch and saves it; gives its entry in the history.

        Raises:
            NonFiniteLossError: the training diverged.
            OSError: the folder cannot be written; what was there still is.
        """
        epoch = self._fit.run_epoch()
        metrics = epoch_metrics(epoch, self._class_names)
        at = int(time.time() * 1000)
        best = self.history.add(epoch.number, at, metrics)
        if self._writes:
            confusion = epoch.validation.confusion.int() if best else None
            state = {"fit": self._fit.state_dict(), "history": vars(self.history), "confusion": confusion}
            save_state(self._folder, state)  # first: from it the others can be written again
            self._write_derived_files(confusion)
        return self.history.epochs[-1]

    def record_divergence(self, reason: str) -> None:
        """Writes down why it ended, for whoever follows the folder."""
        self.history.diverged = reason
        if self._writes:
            self.history.write(self._folder)


def epoch_metrics(epoch: Epoch, class_names: tuple[str, ...]) -> dict[str, float]:
    """An epoch's metrics by their tracked names."""
    return {
        "train/loss": epoch.train.loss,
        "train/accuracy": epoch.train.accuracy,
        **counts_metrics("val", epoch.validation, class_names),
        "learning_rate": epoch.learning_rate,
        "images_per_second": epoch.images_per_second,
        "epoch_seconds": epoch.seconds,
    }


def class_metric_names(class_names: tuple[str, ...]) -> list[str]:
    """A name for each class that MLflow takes as the last part of a metric's name, no two of them alike.

    A class may be called anything (`rock & roll`, `../accuracy`), a metric may not.
    """
    names: dict[str, None] = {}
    for class_name in class_names:
        plain = re.sub(r"[^\w. -]", "_", class_name)[:LONGEST_CLASS_NAME]
        plain = plain if plain.strip(".") else f"class{plain.replace('.', '_')}"
        number, name = 1, plain
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names[name] = None
    return list(names)


def counts_metrics(split: str, counts: Counts, class_names: tuple[str, ...]) -> dict[str, float]:
    """Loss, accuracy and accuracy by class of a split; a class without images has none."""
    by_class = zip(class_metric_names(class_names), counts.class_accuracy, strict=True)
    return {
        f"{split}/loss": counts.loss,
        f"{split}/accuracy": counts.accuracy,
        **{f"{split}/class_accuracy/{name}": value for name, value in by_class if value is not None},
    }


def is_out_of_memory(error: Exception) -> bool:
    """Whether the model was too large for the device or the machine, which trying again does not change."""
    said = ("can't allocate memory", "CUDA error: out of memory")  # of the machine's; where CUDA itself finds none
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in said)
