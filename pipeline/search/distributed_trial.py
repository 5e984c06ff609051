"""A trial of several workers: this actor trains nothing, it starts Ray Train's workers and passes their epochs on."""

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
"""Until the workers have come up: so often it is asked whether to go on waiting for them."""


class DistributedTrial(tune.Trainable):
    """The workers pause at each rung until ASHA decides, so a stopped trial has trained no step beyond it."""

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
        # Reported first, without workers: ASHA may have stopped the trial before a process died.
        self._unreported = list(self._training.history.epochs)
        self._training.num_delivered = len(self._unreported)
        return True

    def step(self) -> dict[str, Any]:
        training, epochs = self._training, self._spec.recipe.epochs
        if self._unreported:
            return epoch_report(self._unreported.pop(0), epochs, training.history.refused, training.num_delivered)
        pause = next((rung for rung in self._rungs.epochs if rung > training.num_delivered), epochs)
        try:
            training.permit(pause)
            entry = self._next_epoch()
        except Exception as error:
            return error_report(error, training.num_delivered)
        if entry is None and not training.is_over:
            return waiting_report(training.num_delivered)
        if entry is None:
            return early_end_report(
                "diverged", training.history.diverged or "the workers ended early", training.num_delivered
            )
        return epoch_report(entry, epochs, training.history.refused, pause)

    def _next_epoch(self) -> dict[str, Any] | None:
        """None where there is no more; or, with the training not over, where no workers have come up yet."""
        while self._workers.starts > 0:
            entry = self._training.next_epoch(LONGEST_POLL_SECONDS)
            if entry is not None or self._training.is_over:
                return entry
        return self._training.next_epoch(STARTING_POLL_SECONDS)

    def cleanup(self) -> None:
        # What has not come up by now, the user does not want to wait for.
        self._workers.stop(leaving=True)
