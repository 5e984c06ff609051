"""Writes each trial's run in MLflow: its metrics by epoch, its figures and weights, and how it ended."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

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
"""ASHA's decisions on a trial, as JSON: a list of `pipeline.trials.rungs.Decision`."""
MACHINES_TAG = "pipeline.machines"
"""The machines that a trial trained on, as JSON: `pipeline.trials.folder.TrialHistory.machines`."""
FUSED_TAG = "pipeline.fused"
"""How many trials, this one included, were fused when its last process started; 1 if no process could hold more than
this one."""
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
    _unreachable: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)
    """Set once the tracking server has not said whether a run has its weights."""

    def key(self, spec: TrialSpec) -> str:
        """Returns the key by which the tracker knows the trial's run."""
        return trial_key(spec.index)

    def run_name(self, spec: TrialSpec) -> str:
        return f"trial-{spec.index:02d}"

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        """Returns the tags that tell the trial's run from others."""
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
            remove_state(folder)  # the trial is over: only its best weights are kept
        lists = {
            MACHINES_TAG: TrialHistory.read(folder).machines,
            DECISIONS_TAG: [asdict(decision) for decision in record.decisions],
        }
        self.tracker.log(key, tags={tag: _newest_that_fit(values) for tag, values in lists.items() if values})
        end = partial(self.tracker.end_run, key, STATUS[record.outcome], _ending_tags(record), at)
        best = record.best
        if best is None:
            end()
            return
        summary = {"best/epoch": float(best.number), "best/val_accuracy": best.accuracy, "best/val_loss": best.loss}
        self.tracker.log(key, summary, step=best.number, at=best.at, once=True)

        def complete(files: Path) -> None:
            # A run gets its weights before it ends, since a process that takes over relies on an ended run having them.
            if not (files / ARTIFACTS).exists():
                copy_weights(files, folder.uri)
            self.tracker.log(key, files=files)
            end()

        title = self.run_name(record.spec)
        self.artifacts.submit(make_trial_artifacts, folder.uri, title, self.class_names, name=title, then=complete)

    def trial_restored(self, record: TrialRecord) -> None:
        """Writes the whole run again, with the times of its epochs, if it is incomplete.

        It is incomplete if an earlier process died before recording all of it, or if files were deleted.
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
        """Whether a run has its weights; False if the server does not say: what is recorded twice counts once.

        The server is then not asked about further runs, since each answer may take minutes not to come.
        """
        if self._unreachable.is_set():
            return False
        try:
            return lost_weights(self.tracker.client, run_id) is None
        except (MlflowException, OSError):
            self._unreachable.set()
            return False


def _now() -> int:
    return int(time.time() * 1000)


def _newest_that_fit(values: list[dict[str, Any]]) -> str:
    """The values as JSON; without the oldest where a tag cannot hold all, since JSON that is cut cannot be read."""
    first = 0
    while len(text := json.dumps(values[first:])) > LONGEST_TAG:
        first += 1
    return text


def _span(record: TrialRecord) -> tuple[int, int]:
    """Returns when a trial's first epoch began and its last ended, in ms since 1970; now, if the epochs do not say."""
    times = [epoch.at for epoch in record.epochs if epoch.at is not None]
    if not times:
        return _now(), _now()
    first_seconds = record.epochs[0].metrics.get("epoch_seconds", 0.0)
    return times[0] - int(first_seconds * 1000), times[-1]


def _ending_tags(record: TrialRecord) -> dict[str, str]:
    """Returns the tags that say how a trial ended; their names are among `pipeline.tracking.events.ENDING_TAGS`."""
    tags: dict[str, str] = {}
    if STATUS[record.outcome] == "KILLED":
        tags["pipeline.stopped"] = record.outcome
    if record.error is not None:
        tags["pipeline.error"] = record.error[:LONGEST_TAG]
    return tags


@dataclass(frozen=True)
class TrainRuns(TrialRuns):
    """Writes the run of a single training, outside a sweep."""

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
    """Writes the runs of chosen configurations, trained to their full length with one of several seeds."""

    resumable = FULL_LENGTH_RESUMABLE
    seed: int
    """Which of the seeds, counted from 0."""

    def key(self, spec: TrialSpec) -> str:
        return f"finalist/{spec.index}/{self.seed}"

    def run_name(self, spec: TrialSpec) -> str:
        return f"{'published' if spec.index == 0 else super().run_name(spec)}-seed-{self.seed}"

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        return {**super().tags(spec), "pipeline.kind": "finalist", "pipeline.confirm_seed": str(self.seed)}


@dataclass(frozen=True)
class AuditRuns(TrialRuns):
    """Writes the runs of trials that ASHA had stopped and that are trained to their full length after all."""

    def key(self, spec: TrialSpec) -> str:
        return f"audit/{spec.index}"

    def run_name(self, spec: TrialSpec) -> str:
        return f"audit-{spec.index:02d}"

    def tags(self, spec: TrialSpec) -> dict[str, str]:
        return {**super().tags(spec), "pipeline.kind": "audit"}
