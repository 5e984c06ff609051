"""The trials' runs in MLflow: what happens to a trial becomes a run with metrics by epoch, figures and weights."""

from dataclasses import dataclass

from pipeline.artifacts import ArtifactMaker, make_trial_artifacts
from pipeline.ranking import EpochRecord, Outcome, TrialRecord
from pipeline.tracking import DatasetReference, Status, Tracker
from pipeline.trial_folder import trial_folder
from tune_spaces.space import TrialSpec
from vit.model import count_parameters
from vit.storage import STATE_FILE

SWEEP_RUN = "sweep"
STATUS: dict[Outcome, Status] = {
    "finished": "FINISHED",
    "asha": "KILLED",
    "diverged": "KILLED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}


def trial_key(index: int) -> str:
    return f"trial/{index}"


@dataclass(frozen=True)
class TrialRuns:
    """Observes a search and writes each trial's run."""

    tracker: Tracker
    artifacts: ArtifactMaker
    trials_folder: str
    dataset: DatasetReference
    class_names: tuple[str, ...]

    def trial_started(self, spec: TrialSpec) -> None:
        tags = {"pipeline.kind": "trial", "pipeline.trial": str(spec.index)}
        tags["pipeline.data_digest"] = self.dataset.digest
        if spec.index == 0:
            tags["pipeline.baseline"] = "published"
        params = {**spec.params, "num_parameters": count_parameters(spec.model)}
        self.tracker.start_run(trial_key(spec.index), f"trial-{spec.index:02d}", SWEEP_RUN, tags, params, self.dataset)

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self.tracker.log(trial_key(spec.index), epoch.metrics, step=epoch.number)

    def trial_ended(self, record: TrialRecord) -> None:
        key = trial_key(record.index)
        tags: dict[str, str] = {}
        if STATUS[record.outcome] == "KILLED":
            tags["pipeline.stopped"] = record.outcome
        if record.error is not None:
            tags["pipeline.error"] = record.error
        best = record.best
        if best is not None:
            summary = {"best/epoch": float(best.number), "best/val_accuracy": best.accuracy, "best/val_loss": best.loss}
            self.tracker.log(key, summary, step=best.number)
            folder = trial_folder(self.trials_folder, record.index)
            if record.outcome != "interrupted":
                folder.remove(STATE_FILE)  # the trial is over: its best weights are what is kept
            self.artifacts.submit(
                make_trial_artifacts,
                folder.uri,
                f"trial {record.index}",
                self.class_names,
                then=lambda files: self.tracker.log(key, files=files),
            )
        self.tracker.end_run(key, STATUS[record.outcome], tags)
