"""A trial inside its Ray actor: an epoch a step."""

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
    """One trial after another in the same process: the imports, the data and the GPU stay."""

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
        # The next trial in this process may need the memory, and so may its neighbours. Not before here: the traceback
        # held the model and all that it had computed.
        self._training = None
        _give_back_gpu_memory()
        return self.step() if again else report

    def _is_worth_another_try(self, error: Exception) -> bool:
        """Whether it ran out of a GPU's memory of which others hold a part, for the first time."""
        again = self._context.shares_gpu and is_out_of_memory(error) and not self._tried_again
        self._tried_again |= again
        return again

    def _next_epoch(self) -> dict[str, Any]:
        if self._data is None:  # not in `setup`, whose errors count as a death of the process
            self._data = load_data(self._shared, self._context)
        if self._training is None:
            self._training = Training(self._spec, self._data, self._context, self._runtime, Workers())
            # The driver may not have heard of an earlier process's epochs: it gets them all and skips what it knows.
            self._unreported = list(self._training.history.epochs)
        entry = self._unreported.pop(0) if self._unreported else self._training.run_epoch()
        history = self._training.history
        return epoch_report(entry, self._spec.recipe.epochs, history.refused, len(history.epochs))


def load_data(shared: SharedData, context: TrainingContext) -> LoadedData:
    """The search's images on this process's device."""
    if context.shares_gpu:  # or one trial's hunger would be another's end
        torch.cuda.set_per_process_memory_fraction(context.gpus)
    return LoadedData.of(shared.get(), context.device)


def _give_back_gpu_memory() -> None:
    """What torch keeps of an ended trial, a trial beside this one on the same GPU may need."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
