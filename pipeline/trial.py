"""A trial inside its Ray actor: trains an epoch a step, keeps its best weights and its latest state in its folder."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from ray import tune

from pipeline.trial_folder import TrialHistory, trial_folder
from tune_spaces.space import TrialSpec
from vit.arrays import ImageArrays
from vit.augment import Normalisation
from vit.checkpoint import ModelCard, load_state, save_card, save_state, save_weights
from vit.fit import Epoch, Fit, NonFiniteLossError, Runtime, Split
from vit.metrics import Counts
from vit.precision import Precision

ACCURACY = "val/accuracy"


@dataclass(frozen=True)
class TrainingData:
    """What the trials of a sweep train on and choose by; the test images are not in it."""

    train: ImageArrays
    validation: ImageArrays
    normalisation: Normalisation
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep share besides the data."""

    folder: str
    """Path or URI under which each trial has its own folder."""
    precision: Precision
    compile: bool


class Trial(tune.Trainable):
    """One trial after another in the same process: the imports, the data and the GPU stay."""

    def setup(self, config: dict[str, Any], data: TrainingData, context: TrialContext) -> None:  # type: ignore[override]
        self._data, self._context = data, context
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._runtime = Runtime(device, context.precision, context.compile)
        self._train, self._validation = Split.of(data.train, device), Split.of(data.validation, device)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        spec = TrialSpec.from_dict(config["trial"])
        self._folder = trial_folder(self._context.folder, spec.index)
        self._fit = Fit(
            spec.model, spec.recipe, self._runtime, self._train, self._validation, self._data.normalisation, spec.seed
        )
        self._history = TrialHistory()
        self._untold: list[dict[str, Any]] = []
        save_card(self._folder, ModelCard(spec.model, self._data.normalisation, self._data.class_names))
        state = load_state(self._folder)
        if state is not None:  # the trial's process died and this one takes over
            self._fit.load_state_dict(state["fit"])
            self._history = TrialHistory(**state["history"])
            self._history.write(self._folder)
            # The driver may not have heard of the last epoch: it gets them all again and skips what it knows.
            self._untold = list(self._history.epochs)

    def step(self) -> dict[str, Any]:
        if self._untold:
            return self._result(self._untold.pop(0))
        try:
            epoch = self._fit.run_epoch()
        except NonFiniteLossError as error:
            # ASHA never stops a trial whose metric is missing, so it ends itself, with the worst there is.
            return {"epoch": self._fit.epochs_done + 1, ACCURACY: 0.0, "diverged": str(error), "done": True}
        metrics = epoch_metrics(epoch, self._data.class_names)
        if self._history.add(epoch.number, metrics, epoch.validation.confusion.tolist()):
            save_weights(self._folder, self._fit.kept_model, epoch.number)
        save_state(self._folder, {"fit": self._fit.state_dict(), "history": asdict(self._history)})
        self._history.write(self._folder)
        return self._result(self._history.epochs[-1])

    def _result(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What Tune is told of an epoch in the history."""
        metrics = {name: value for name, value in entry.items() if name != "epoch"}
        done = entry["epoch"] >= self._fit.recipe.epochs
        return {"epoch": entry["epoch"], ACCURACY: metrics[ACCURACY], "metrics": metrics, "done": done}


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
