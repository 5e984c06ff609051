"""A trial of several workers: this actor trains nothing, it starts Ray Train's workers and passes their epochs on."""

from typing import Any

from ray import tune

from pipeline.ddp import Assignment, Crew, SharedData, Team, TeamTraining
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.rungs import Rungs
from pipeline.trials.training import TrainingContext
from pipeline.trials.trial import ended, ended_by, told
from tune_spaces.space import TrialSpec

SECONDS_A_LOOK = 60.0


class TeamTrial(tune.Trainable):
    """The workers wait at each rung for ASHA's word, so a trial that is stopped there has not gone a step too far."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], data: SharedData, context: TrainingContext, team: Team, rungs: Rungs
    ) -> None:
        self._data, self._context, self._team, self._rungs = data, context, team, rungs
        self._crew = Crew(data, team)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if not self._crew.is_sound:
            self._crew.stop()
            self._crew = Crew(self._data, self._team)
        self._spec = TrialSpec.from_dict(new_config["trial"])
        # Told first, without workers: ASHA may have stopped the trial before a process died.
        self._untold = TrialHistory.read(trial_folder(self._context.folder, self._spec.index)).epochs
        self._training = TeamTraining(Assignment(self._spec, self._context), self._crew)
        self._training.told = len(self._untold)
        return True

    def step(self) -> dict[str, Any]:
        training, epochs = self._training, self._spec.recipe.epochs
        if self._untold:
            return told(self._untold.pop(0), epochs, training.history.refused)
        try:
            training.permit(next((rung for rung in self._rungs.epochs if rung > training.told), epochs))
            entry = None
            while entry is None and not training.over:
                entry = training.next_epoch(SECONDS_A_LOOK)
            entry = entry or training.next_epoch(0)
        except Exception as error:
            return ended_by(error, training.told)
        if entry is None:
            return ended("diverged", training.history.diverged or "the workers ended early", training.told)
        return told(entry, epochs, training.history.refused)

    def cleanup(self) -> None:
        self._crew.stop()
