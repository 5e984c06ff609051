"""A training run that outlives its process: every epoch stands in the run's folder before anyone is told of it.

The same under a trial in its Tune actor and under each worker of Ray Train; knows neither.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pipeline.trials.folder import TrialHistory, trial_folder
from tune_spaces.space import TrialSpec
from vit.arrays import ImageArrays
from vit.augment import Normalisation
from vit.checkpoint import ModelCard, load_state, save_card, save_state, save_weights
from vit.fit import Epoch, Fit, Runtime, Split
from vit.metrics import Counts
from vit.parallel import Workers
from vit.precision import Precision
from vit.storage import STATE_FILE


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

    Of several workers, all read the folder and the first writes it.
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
        state = load_state(self._folder, lambda error: refused.append(str(error)))
        if state is not None:
            self._fit.load_state_dict(state["fit"])
            self.history = TrialHistory(**state["history"])
        self.history.refused += refused
        if self._writes:
            if refused:
                self._folder.remove(STATE_FILE)  # or the next save would put it in the place of the one that was good
            self._make_whole(ModelCard(spec.model, data.normalisation, data.class_names))

    def _make_whole(self, card: ModelCard) -> None:
        """Writes what the process before may have died in front of: all that follows from the state."""
        save_card(self._folder, card)
        if self._fit.epochs_done:
            if self.history.best_epoch == self._fit.epochs_done:
                save_weights(self._folder, self._fit.kept_model, self._fit.epochs_done)
            self.history.write(self._folder)

    @property
    def done(self) -> bool:
        return self._fit.epochs_done >= self._fit.recipe.epochs

    def run_epoch(self) -> dict[str, Any]:
        """Trains an epoch and saves it; gives its entry in the history.

        Raises:
            NonFiniteLossError: the training diverged.
            OSError: the folder cannot be written; what stood there still stands.
        """
        epoch = self._fit.run_epoch()
        metrics = epoch_metrics(epoch, self._class_names)
        at = int(time.time() * 1000)
        best = self.history.add(epoch.number, at, metrics, epoch.validation.confusion.tolist())
        if self._writes:
            # The state first: from it the others can be written again.
            save_state(self._folder, {"fit": self._fit.state_dict(), "history": asdict(self.history)})
            if best:
                save_weights(self._folder, self._fit.kept_model, epoch.number)
            self.history.write(self._folder)
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


def counts_metrics(split: str, counts: Counts, class_names: tuple[str, ...]) -> dict[str, float]:
    """Loss, accuracy and accuracy by class of a split; a class without images has none."""
    by_class = zip(class_names, counts.class_accuracy, strict=True)
    return {
        f"{split}/loss": counts.loss,
        f"{split}/accuracy": counts.accuracy,
        **{f"{split}/class_accuracy/{name}": value for name, value in by_class if value is not None},
    }


def is_out_of_memory(error: Exception) -> bool:
    """Whether the model was too large for the device or the machine, which trying again does not change."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
