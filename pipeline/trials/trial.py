"""A trial inside its Ray actor: an epoch a step."""

from typing import Any

import torch
from ray import tune

from pipeline.exits import disk_full
from pipeline.ranking import Outcome
from pipeline.trials.training import LoadedData, Training, TrainingContext, TrainingData, is_out_of_memory
from tune_spaces.space import TrialSpec
from vit.fit import NonFiniteLossError, Runtime
from vit.parallel import Workers

ACCURACY = "val/accuracy"


class Trial(tune.Trainable):
    """One trial after another in the same process: the imports, the data and the GPU stay."""

    def setup(self, config: dict[str, Any], data: TrainingData, context: TrainingContext) -> None:  # type: ignore[override]
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._context, self._runtime = context, Runtime(device, context.precision, context.compile)
        self._data = LoadedData.of(data, device)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._spec = TrialSpec.from_dict(new_config["trial"])
        self._training: Training | None = None
        self._untold: list[dict[str, Any]] = []
        return True

    def step(self) -> dict[str, Any]:
        try:
            return self._next_epoch()
        except Exception as error:
            epochs = len(self._training.history.epochs) if self._training else 0
            self._training = None  # the next trial in this process may need the memory
            return ended_by(error, epochs)

    def _next_epoch(self) -> dict[str, Any]:
        if self._training is None:
            self._training = Training(self._spec, self._data, self._context, self._runtime, Workers())
            # The driver may not have heard of an earlier process's epochs: it gets them all and skips what it knows.
            self._untold = list(self._training.history.epochs)
        entry = self._untold.pop(0) if self._untold else self._training.run_epoch()
        return told(entry, self._spec.recipe.epochs, self._training.history.refused)


def told(entry: dict[str, Any], epochs: int, refused: list[str]) -> dict[str, Any]:
    """What Tune is told of an epoch in the history."""
    done = entry["epoch"] >= epochs
    return {**entry, ACCURACY: entry["metrics"][ACCURACY], "refused": refused, "done": done}


def ended_by(error: Exception, epochs: int) -> dict[str, Any]:
    """What Tune is told where an error ended the trial after so many epochs.

    Raises:
        Exception: the error itself, where another process may succeed.
    """
    if isinstance(error, NonFiniteLossError):
        return ended("diverged", str(error), epochs)
    full = disk_full(error)
    if full is not None:
        return ended("interrupted", full, epochs)
    if is_out_of_memory(error):
        return ended("failed", f"out of memory: {error}", epochs)
    raise error


def ended(outcome: Outcome, reason: str, epochs: int) -> dict[str, Any]:
    """What Tune is told of a trial that ends by itself, before its last epoch."""
    # ASHA never stops a trial whose metric is missing, so it gets the worst there is.
    return {"epoch": epochs + 1, ACCURACY: 0.0, "ended": {"outcome": outcome, "error": reason}, "done": True}
