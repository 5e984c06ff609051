"""A trial in a Ray Tune actor: each step reports one epoch."""

from typing import Any

import torch
from ray import tune

from pipeline.search.reports import epoch_report, error_report
from pipeline.training.training import LoadedData, Training, TrainingContext, is_out_of_memory
from pipeline.training.worker_group import SharedData
from tune_spaces.trial_spec import TrialSpec
from vit.training.parallel import Workers
from vit.training.runtime import Runtime


class Trial(tune.Trainable):
    """Runs one trial after another in the same process, which keeps its imports, its data and its GPU."""

    def setup(self, config: dict[str, Any], data: SharedData, context: TrainingContext) -> None:  # type: ignore[override]
        self._context, self._runtime = context, Runtime(context.device, context.precision, context.compile)
        self._shared = data
        self._data: LoadedData | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._spec = TrialSpec.from_dict(new_config["trial"])
        self._training: Training | None = None
        self._unreported: list[dict[str, Any]] = []
        self._tried_again = False
        _give_back_gpu_memory()
        return True

    def step(self) -> dict[str, Any]:
        try:
            return self._next_epoch()
        except Exception as error:
            again = self._is_worth_another_try(error)
            report = {} if again else error_report(error, len(self._training.history.epochs) if self._training else 0)
        # Frees the memory, which the next trial in this process and other trials on this GPU may need. This has to be
        # outside of the `except` block, where the traceback still holds the model and all that it has computed.
        self._training = None
        _give_back_gpu_memory()
        return self.step() if again else report

    def _is_worth_another_try(self, error: Exception) -> bool:
        """Whether the trial is retried: it shares its GPU with others and ran out of memory for the first time."""
        again = self._context.shares_gpu and is_out_of_memory(error) and not self._tried_again
        self._tried_again |= again
        return again

    def _next_epoch(self) -> dict[str, Any]:
        if self._data is None:  # not in `setup`, where an error counts as a crash of the process
            self._data = load_data(self._shared, self._context)
        if self._training is None:
            self._training = Training(self._spec, self._data, self._context, self._runtime, Workers())
            # An earlier process's last epochs may not have reached the driver: it gets all, and skips those it knows.
            self._unreported = list(self._training.history.epochs)
        entry = self._unreported.pop(0) if self._unreported else self._training.run_epoch()
        history = self._training.history
        return epoch_report(entry, self._spec.recipe.epochs, history.refused, len(history.epochs))


def load_data(shared: SharedData, context: TrainingContext) -> LoadedData:
    """Loads the search's images onto this process's device."""
    if context.shares_gpu:  # otherwise one trial could take the memory that another needs
        torch.cuda.set_per_process_memory_fraction(context.gpus)
    return LoadedData.of(shared.get(), context.device)


def _give_back_gpu_memory() -> None:
    """Frees the memory that torch caches after a trial: other trials on the same GPU may need it."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
