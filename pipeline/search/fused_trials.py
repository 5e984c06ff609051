"""The Ray actor that trains several trials as one: each call trains one epoch of all of them, or several short ones."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.search.reports import early_end_report, epoch_report, error_report
from pipeline.search.trial import load_data
from pipeline.training.fused_training import Entry, FusedTraining
from pipeline.training.training import LoadedData, Training, TrainingContext, is_out_of_memory
from pipeline.training.worker_group import SharedData
from pipeline.trials.folder import TrialHistory
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.timing.fusing_gain import fusing_gain
from vit.training.fit import NonFiniteLossError
from vit.training.parallel import Workers
from vit.training.runtime import Runtime


@dataclass(frozen=True)
class Reply:
    """What the actor returns from a call."""

    reports: list[tuple[int, dict[str, Any]]]
    """Each trial's index with its report (from `pipeline.search.reports`), sorted by epoch, then by index."""
    out_of_memory: bool = False
    """Whether the trials do not fit into the memory here; each can be resumed from its folder."""


def gain_of(specs: Sequence[TrialSpec], runtime: Runtime) -> float:
    """How many times as fast fusing makes the trials on this process's device; 0 if they do not fit into its memory."""
    try:
        return fusing_gain(specs[0].model, [spec.recipe for spec in specs], runtime)
    except Exception as error:
        if is_out_of_memory(error):
            return 0.0
        raise


class _OneTraining:
    """A single trial, with the interface of `FusedTraining`: for one trial, the plain loop is faster."""

    def __init__(self, spec: TrialSpec, data: LoadedData, context: TrainingContext, runtime: Runtime) -> None:
        self._index, self._training = spec.index, Training(spec, data, context, runtime, Workers())

    def history(self, index: int) -> TrialHistory:
        return self._training.history

    def run_epochs(self) -> list[tuple[int, Entry]]:
        try:
            return [(self._index, self._training.run_epoch())]
        except NonFiniteLossError as error:
            return [(self._index, error)]

    def leave_out(self, indices: Collection[int]) -> None:
        """Does nothing: there are no other trials to continue with."""


class FusedTrials:
    """Trains trials that share one `fusing_key`, or a single trial, in one process, which can then train others."""

    def __init__(self, data: SharedData, context: TrainingContext, rungs: Rungs) -> None:
        self._shared, self._context, self._rungs = data, context, rungs
        self._runtime = Runtime(context.device, context.precision, context.compile)
        self._data: LoadedData | None = None
        self._training: FusedTraining | _OneTraining | None = None

    def gain(self, specs: Sequence[TrialSpec]) -> float:
        """How many times as fast fusing makes the trials; 0 if they do not fit into the memory."""
        return gain_of(specs, self._runtime)

    def begin(self, specs: Sequence[TrialSpec]) -> Reply:
        """Resumes the trials from their folders; reports the epochs that are there."""
        self._specs = {spec.index: spec for spec in specs}
        self._training = None  # frees the memory of the previous trials
        try:
            self._training = training = self._begun(specs)
        except Exception as error:
            return self._broken_off(error)
        entries = [(index, entry) for index in self._specs for entry in training.history(index).epochs]
        ordered = sorted(entries, key=lambda each: (each[1]["epoch"], each[0]))
        return Reply([(index, self._report(training, index, entry)) for index, entry in ordered])

    def _begun(self, specs: Sequence[TrialSpec]) -> FusedTraining | _OneTraining:
        if self._data is None:
            self._data = load_data(self._shared, self._context)
        if len(specs) == 1:
            return _OneTraining(specs[0], self._data, self._context, self._runtime)
        return FusedTraining(specs, self._data, self._context, self._runtime, self._rungs.epochs)

    def next_epochs(self, ended: Collection[int]) -> Reply:
        """Trains all trials but the ended ones, or only those that are behind the others, at most to the next rung."""
        assert self._training is not None, "next_epochs before begin"
        for index in ended:
            del self._specs[index]
        try:
            self._training.leave_out(ended)
            if len(self._specs) == 1 and isinstance(self._training, FusedTraining):  # the last resumes from its folder
                self._training = self._begun(list(self._specs.values()))
            entries = self._training.run_epochs()
        except Exception as error:
            return self._broken_off(error)
        return Reply([(index, self._report(self._training, index, entry)) for index, entry in entries])

    def _report(self, training: FusedTraining | _OneTraining, index: int, entry: Entry) -> dict[str, Any]:
        history = training.history(index)
        if isinstance(entry, NonFiniteLossError):
            return early_end_report("diverged", str(entry), len(history.epochs))
        return epoch_report(entry, self._specs[index].recipe.epochs, history.refused, len(history.epochs))

    def _broken_off(self, error: Exception) -> Reply:
        """The reply after an error; raises the error itself if another process may succeed."""
        if is_out_of_memory(error):
            return Reply([], out_of_memory=True)
        return Reply([(index, error_report(error, 0)) for index in self._specs])
