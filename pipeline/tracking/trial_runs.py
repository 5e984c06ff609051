"""The trials' runs in MLflow: what happens to a trial becomes a run with metrics by epoch, figures and weights."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from mlflow.exceptions import MlflowException

from pipeline.tracking.artifacts import ArtifactMaker, copy_weights, make_trial_artifacts
from pipeline.tracking.events import LONGEST_TAG, DatasetReference, Status
from pipeline.tracking.tracker import Tracker
from pipeline.tracking.weights import ARTIFACTS, lost_weights
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.observers import Observer
from pipeline.trials.records import FULL_LENGTH_RESUMABLE, RESUMABLE, EpochRecord, Outcome, TrialRecord
from tune_spaces.trial_spec import TrialSpec
from vit.files.checkpoint import remove_state
from vit.model.vision_transformer import count_parameters

SWEEP_RUN = "sweep"
DECISIONS_TAG = "pipeline.decisions"
"""ASHA's decisions of a trial as JSON: a list of `pipeline.trials.rungs.Decision`."""
MACHINES_TAG = "pipeline.machines"
"""On which it trained, as JSON: `pipeline.trials.folder.TrialHistory.machines`."""
FUSED_TAG = "pipeline.fused"
"""How many trials were trained as one with it, itself included, when its last process came up; 1 where no process held
any more than itself."""
STATUS: dict[Outcome, Status] = {
    "finished": "FINISHED",
    "asha": "KILLED",
    "diverged": "KILLED",
    "budget": "KILLED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}


def trial_key(index: int) -> str:
    return f"trial/{index}"


@dataclass(frozen=True)
class TrialRuns(Observer):
    """Observes a search and writes each trial's run."""

    resumable: ClassVar[tuple[Outcome, ...]] = RESUMABLE
    """Outcomes after which a later command needs the trial's state."""
    tracker: Tracker
    artifacts: ArtifactMaker
    trials_folder: str
    dataset: DatasetReference
    class_names: tuple[str, ...]

    def key(self, spec: TrialSpec) -> str:
        """By which the tracker knows its run."""
        return trial_key(spec.index)

    def run_name(self, spec: TrialSpec) -> str:
        return f"trial-{spec.index:02d}"

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        """What tells this run from others."""
        tags = {"pipeline.kind": "trial", "pipeline.trial": str(spec.index)}
        if spec.index == 0:
            tags["pipeline.baseline"] = "published"
        return tags

    @property
    def parent(self) -> str | None:
        return SWEEP_RUN

    def trial_started(self, spec: TrialSpec) -> None:
        self._start(spec, _now())

    def _start(self, spec: TrialSpec, at: int) -> None:
        key, tags = self.key(spec), {**self.tags(spec), "pipeline.data_digest": self.dataset.digest}
        params = {**spec.params, "num_parameters": count_parameters(spec.model)}
        self.tracker.start_run(key, self.run_name(spec), self.parent, tags, params, self.dataset, at)

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        for spec in specs:
            self.tracker.log(self.key(spec), tags={FUSED_TAG: str(len(specs))})

    def trial_kept_apart(self, spec: TrialSpec) -> None:
        self.tracker.log(self.key(spec), tags={FUSED_TAG: "1"})

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self.tracker.log(self.key(spec), epoch.metrics, step=epoch.number, at=epoch.at, once=True)

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self.tracker.log(self.key(spec), tags={"pipeline.refused_checkpoint": reason})

    def trial_ended(self, record: TrialRecord) -> None:
        self._end(record, _now())

    def _end(self, record: TrialRecord, at: int) -> None:
        key, folder = self.key(record.spec), trial_folder(self.trials_folder, record.index)
        if record.outcome not in self.resumable:
            remove_state(folder)  # the trial is over: its best weights are what is kept
        lists = {
            MACHINES_TAG: TrialHistory.read(folder).machines,
            DECISIONS_TAG: [asdict(decision) for decision in record.decisions],
        }
        self.tracker.log(key, tags={tag: json.dumps(values) for tag, values in lists.items() if values})
        end = partial(self.tracker.end_run, key, STATUS[record.outcome], _ending_tags(record), at)
        best = record.best
        if best is None:
            end()
            return
        summary = {"best/epoch": float(best.number), "best/val_accuracy": best.accuracy, "best/val_loss": best.loss}
        self.tracker.log(key, summary, step=best.number, at=best.at, once=True)

        def complete(files: Path) -> None:
            # A run that has ended has its weights: whoever takes over may rely on it.
            if not (files / ARTIFACTS).exists():
                copy_weights(files, folder.uri)
            self.tracker.log(key, files=files)
            end()

        title = self.run_name(record.spec)
        self.artifacts.submit(make_trial_artifacts, folder.uri, title, self.class_names, name=title, then=complete)

    def trial_restored(self, record: TrialRecord) -> None:
        """Writes the whole run again if it is incomplete, at the time that its epochs tell.

        The earlier process died before recording it, or files were deleted.
        """
        run = self.tracker.earlier(self.key(record.spec))
        ended_so = run is not None and (run.status, run.ending) == (STATUS[record.outcome], _ending_tags(record))
        if run is not None and ended_so and (record.best is None or self._has_weights(run.run_id)):
            return
        began, ended = _span(record)
        self._start(record.spec, began)
        for epoch in record.epochs:
            self.epoch_done(record.spec, epoch)
        self._end(record, ended)

    def _has_weights(self, run_id: str) -> bool:
        try:
            return lost_weights(self.tracker.client, run_id) is None
        except (MlflowException, OSError):  # the server is away; what is recorded once more than needed counts once
            return False


def _now() -> int:
    return int(time.time() * 1000)


def _span(record: TrialRecord) -> tuple[int, int]:
    """When a trial began and ended, in ms since 1970, by its first epoch and its last; now, where these do not tell."""
    times = [epoch.at for epoch in record.epochs if epoch.at is not None]
    if not times:
        return _now(), _now()
    first_seconds = record.epochs[0].metrics.get("epoch_seconds", 0.0)
    return times[0] - int(first_seconds * 1000), times[-1]


def _ending_tags(record: TrialRecord) -> dict[str, str]:
    """By name, of `pipeline.tracking.events.ENDING_TAGS`."""
    tags: dict[str, str] = {}
    if STATUS[record.outcome] == "KILLED":
        tags["pipeline.stopped"] = record.outcome
    if record.error is not None:
        tags["pipeline.error"] = record.error[:LONGEST_TAG]
    return tags


@dataclass(frozen=True)
class TrainRuns(TrialRuns):
    """The run of a training by itself, without a sweep."""

    resumable = FULL_LENGTH_RESUMABLE
    name: str
    session_tags: dict[str, str]

    def run_name(self, spec: TrialSpec) -> str:
        return self.name

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        return self.session_tags

    @property
    def parent(self) -> str | None:
        return None


@dataclass(frozen=True)
class FinalistRuns(TrialRuns):
    """Runs of chosen configurations to their full length, with one of several seeds."""

    resumable = FULL_LENGTH_RESUMABLE
    seed: int
    """Which of them, from 0."""

    def key(self, spec: TrialSpec) -> str:
        return f"finalist/{spec.index}/{self.seed}"

    def run_name(self, spec: TrialSpec) -> str:
        return f"{'published' if spec.index == 0 else super().run_name(spec)}-seed-{self.seed}"

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        return {**super().tags(spec), "pipeline.kind": "finalist", "pipeline.confirm_seed": str(self.seed)}


@dataclass(frozen=True)
class AuditRuns(TrialRuns):
    """Runs of trials that ASHA had stopped, trained to their full length after all."""

    def key(self, spec: TrialSpec) -> str:
        return f"audit/{spec.index}"

    def run_name(self, spec: TrialSpec) -> str:
        return f"audit-{spec.index:02d}"

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        return {**super().tags(spec), "pipeline.kind": "audit"}
