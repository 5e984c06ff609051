"""A trial on several workers: its actor trains nothing, but starts Ray Train's workers and reports their epochs."""

from typing import Any

from ray import tune

from pipeline.search.reports import early_end_report, epoch_report, error_report, waiting_report
from pipeline.training.distributed_training import Assignment, DistributedTraining
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData, WorkerGroup, WorkerGroupConfig
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec

LONGEST_POLL_SECONDS = 60.0
STARTING_POLL_SECONDS = 5.0
"""The seconds between reports while the workers start; after each report, the driver may stop the trial."""


class DistributedTrial(tune.Trainable):
    """A trial whose workers pause at each rung until ASHA decides, so that a stopped trial trains no step beyond it."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], data: SharedData, context: TrainingContext, group: WorkerGroupConfig, rungs: Rungs
    ) -> None:
        self._data, self._context, self._group, self._rungs = data, context, group, rungs
        self._workers = WorkerGroup(data, group)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if not self._workers.is_sound:
            self._workers.stop()
            self._workers = WorkerGroup(self._data, self._group)
        self._spec = TrialSpec.from_dict(new_config["trial"])
        self._training = DistributedTraining(Assignment(self._spec, self._context), self._workers)
        # Reported before workers start: if ASHA had stopped the trial before a process died, no workers are needed.
        self._unreported = list(self._training.history.epochs)
        self._training.num_delivered = len(self._unreported)
        return True

    def step(self) -> dict[str, Any]:
        training, epochs = self._training, self._spec.recipe.epochs
        if self._unreported:
            known = training.num_delivered
            return epoch_report(
                self._unreported.pop(0), epochs, training.history.refused, known, self._leg_after(known)
            )
        pause = training.num_delivered + self._leg_after(training.num_delivered)
        try:
            training.permit(pause)
            entry = self._next_epoch()
        except Exception as error:
            return error_report(error, training.num_delivered)
        if entry is None and not training.is_over:
            return waiting_report(training.num_delivered)
        if entry is None and training.history.diverged is None:
            raise RuntimeError("the workers ended before the training did")  # Tune starts the trial again
        if entry is None:
            return early_end_report("diverged", str(training.history.diverged), training.num_delivered)
        return epoch_report(entry, epochs, training.history.refused, pause, self._leg_after(pause))

    def _leg_after(self, epoch: int) -> int:
        """How many epochs the workers train after this one until they pause: at the next rung, or at the end."""
        return next((rung for rung in self._rungs.epochs if rung > epoch), self._spec.recipe.epochs) - epoch

    def _next_epoch(self) -> dict[str, Any] | None:
        """The next epoch; None if none is left or, while the training is not over, if no worker has started yet."""
        while self._workers.starts > 0:
            entry = self._training.next_epoch(LONGEST_POLL_SECONDS)
            if entry is not None or self._training.is_over:
                return entry
        return self._training.next_epoch(STARTING_POLL_SECONDS)

    def cleanup(self) -> None:
        # If workers have not started by now, the user wants to stop without waiting for them.
        self._workers.stop(leaving=True)
