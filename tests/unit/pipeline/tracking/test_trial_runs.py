"""Tests of a trial's MLflow run, written by one process or by another that takes over, on a real SQLite store."""

import importlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline.tracking import trial_runs
from pipeline.tracking.artifacts import ArtifactMaker
from pipeline.tracking.events import DatasetReference
from pipeline.tracking.tracker import Tracker
from pipeline.tracking.trial_runs import SWEEP_RUN, AuditRuns, FinalistRuns, TrainRuns, TrialRuns, trial_key
from pipeline.tracking.weights import ARTIFACTS, lost_weights
from pipeline.trials.folder import TrialHistory, trial_folder, write_confusion
from pipeline.trials.records import RESUMABLE, EpochRecord, Outcome, TrialRecord
from pipeline.trials.rungs import Decision
from tests.deadline import DEADLINE
from tune_spaces.trial_spec import TrialSpec
from vit.files.checkpoint import save_state
from vit.files.storage import CONFIG_FILE, PREVIOUS_STATE_FILE, STATE_FILE, WEIGHTS_FILE, Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import count_parameters
from vit.training.recipes import Recipe

DATA = DatasetReference("digits", "sha256:" + "0" * 64, "scikit-learn")
SPEC = TrialSpec(1, ViTConfig(img_size=8, in_chans=1, depth=2), Recipe(), seed=7)
EPOCHS = tuple(
    EpochRecord(number, {"val/accuracy": accuracy, "val/loss": 1 / number}, at=1_700_000_000_000 + number)
    for number, accuracy in enumerate([0.2, 0.6, 0.5], start=1)
)
DECISIONS = (Decision(1, 0.2, None, 1, 1, True), Decision(3, 0.5, 0.1 + 0.2, 2, 4, False))
ENDINGS = [outcome for outcome in get_args(Outcome) if outcome != "interrupted"]

_numbers = itertools.count()


class Artifacts(ArtifactMaker):
    """Immediately makes one file in place of the figures, and the weights; makes nothing if `dies` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []
        self.dies = False

    def submit(self, job: Callable[..., None], *arguments: Any, name: str, then: Callable[[Path], None]) -> None:
        if self.dies:
            return
        self.made.append(arguments[0])
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        (folder / "curves.png").write_bytes(b"picture")
        (folder / ARTIFACTS).mkdir()
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            (folder / ARTIFACTS / name).write_bytes(b"weights")
        then(folder)


class Driver:
    """The parts of a driver process that write the runs."""

    def __init__(self, uri: str, experiment: str, trials_folder: str) -> None:
        self.tracker, self.artifacts = Tracker(uri, experiment, "owner"), Artifacts()
        self.tracker.start_run(SWEEP_RUN, "sweep")
        self.runs = TrialRuns(self.tracker, self.artifacts, trials_folder, DATA, ("a", "b"))

    def tell(self, record: TrialRecord) -> None:
        """Reports a trial from its start to its end."""
        self.runs.trial_started(record.spec)
        for epoch in record.epochs:
            self.runs.epoch_done(record.spec, epoch)
        self.runs.trial_ended(record)

    def close(self) -> None:
        self.tracker.close(timeout=DEADLINE)
        self.artifacts.close()

    def run(self, index: int = SPEC.index) -> Run:
        return MlflowClient(self.tracker.uri).get_run(self.tracker.run_id(trial_key(index)))

    def recorded(self, index: int = SPEC.index) -> dict[str, Any]:
        """Returns all that a reader finds in the run, except its name, its id, and when it started and ended."""
        run, client = self.run(index), MlflowClient(self.tracker.uri)
        tags = {name: value for name, value in run.data.tags.items() if name.startswith("pipeline.")}
        files = [file.path for file in client.list_artifacts(run.info.run_id)]
        recorded = {"status": run.info.status, "params": run.data.params, "tags": tags, "files": files}
        for name in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, name)
            recorded[name] = sorted((each.step, each.timestamp, each.value) for each in history)
        return recorded


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('runs')}/mlflow.db"


def test_of_too_many_machines_for_a_tag_the_newest_are_recorded(start: Callable[[], Driver], tmp_path: Path) -> None:
    driver = start()
    machines = [{"processor": "Xeon", "threads": number} for number in range(1000)]
    TrialHistory(machines=machines).write(trial_folder(str(tmp_path), SPEC.index))
    driver.tell(record("finished"))
    recorded = json.loads(driver.run().data.tags["pipeline.machines"])
    assert recorded == machines[-len(recorded) :]
    assert len(recorded) > 100


@pytest.fixture
def start(database: str, tmp_path: Path) -> Iterator[Callable[[], Driver]]:
    """Returns a function that starts a driver on the same folder, which takes over from the one before."""
    experiment = f"experiment-{next(_numbers)}"
    started: list[Driver] = []

    def start_driver() -> Driver:
        if started:
            started[-1].close()
        started.append(Driver(database, experiment, str(tmp_path)))
        return started[-1]

    yield start_driver
    for driver in started:
        driver.close()


def record(outcome: Outcome, epochs: tuple[EpochRecord, ...] = EPOCHS) -> TrialRecord:
    return TrialRecord(SPEC, outcome, epochs, "why" if outcome in ("failed", "diverged") else None)


@pytest.mark.parametrize(
    ("outcome", "status", "tags"),
    [
        ("finished", "FINISHED", {}),
        ("asha", "KILLED", {"pipeline.stopped": "asha"}),
        ("diverged", "KILLED", {"pipeline.stopped": "diverged", "pipeline.error": "why"}),
        ("interrupted", "KILLED", {"pipeline.stopped": "interrupted"}),
        ("failed", "FAILED", {"pipeline.error": "why"}),
    ],
)
def test_a_trial_becomes_a_run(
    start: Callable[[], Driver], tmp_path: Path, outcome: Outcome, status: str, tags: dict[str, str]
) -> None:
    driver = start()
    TrialHistory(machines=[{"processor": "Xeon"}]).write(trial_folder(str(tmp_path), SPEC.index))
    driver.tell(record(outcome))
    recorded, run = driver.recorded(), driver.run()
    assert (recorded.pop("status"), recorded.pop("files")) == (status, [ARTIFACTS, "curves.png"])
    params = {name: str(value) for name, value in SPEC.params.items()}
    assert recorded.pop("params") == {**params, "num_parameters": str(count_parameters(SPEC.model))}
    expected = {"pipeline.kind": "trial", "pipeline.trial": "1", "pipeline.data_digest": DATA.digest, **tags}
    machines = '[{"processor": "Xeon"}]'
    assert recorded.pop("tags") == {**expected, "pipeline.record": "owner/trial/1", "pipeline.machines": machines}
    assert recorded.pop("val/loss") == [(epoch.number, epoch.at, epoch.loss) for epoch in EPOCHS]
    assert recorded.pop("val/accuracy") == [(epoch.number, epoch.at, epoch.accuracy) for epoch in EPOCHS]
    best = {"best/epoch": 2.0, "best/val_accuracy": 0.6, "best/val_loss": 0.5}
    assert recorded == {name: [(2, EPOCHS[1].at, value)] for name, value in best.items()}
    assert run.info.run_name == "trial-01"
    assert run.data.tags["mlflow.parentRunId"] == driver.tracker.run_id(SWEEP_RUN)


@pytest.fixture
def trained(tmp_path: Path) -> Folder:
    """The trial's folder, with all that its training leaves; its confusion matrix cannot be drawn for two classes."""
    folder = trial_folder(str(tmp_path), SPEC.index)
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        folder.write(name, b"weights")
    history = TrialHistory()
    for epoch in EPOCHS:
        history.add(epoch.number, 0, {"train/loss": 1.0, "train/accuracy": 0.5, **epoch.metrics})
    history.write(folder)
    write_confusion(folder, np.ones((3, 3), np.int64))
    return folder


@pytest.mark.parametrize("what", ["figures that cannot be drawn", "a process that is always killed"])
def test_a_run_without_figures_ends_with_its_weights(
    database: str, trained: Folder, what: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    if what == "a process that is always killed":
        (tmp_path / "killed_job.py").write_text("import os\ndef die(*anything): os.kill(os.getpid(), 9)\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(trial_runs, "make_trial_artifacts", importlib.import_module("killed_job").die)
    tracker = Tracker(database, f"experiment-{next(_numbers)}")
    with closing(ArtifactMaker()) as artifacts, closing(tracker):
        tracker.start_run(SWEEP_RUN, "sweep")
        runs = TrialRuns(tracker, artifacts, str(tmp_path), DATA, ("a", "b"))
        runs.trial_started(SPEC)
        runs.trial_ended(record("finished"))
        for _ in range(2):
            artifacts.finish()
        run_id = tracker.run_id(trial_key(SPEC.index))
    assert tracker.client.get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in tracker.client.list_artifacts(run_id)] == [ARTIFACTS]
    assert lost_weights(tracker.client, run_id) is None
    (warning,) = caplog.messages
    assert warning.startswith("figures of trial-01 are missing in MLflow, because they could not be drawn: ")


def test_a_trial_without_an_epoch_has_no_figures(start: Callable[[], Driver]) -> None:
    driver = start()
    driver.tell(record("diverged", ()))
    assert driver.recorded()["files"] == driver.artifacts.made == []
    assert driver.run().info.status == "KILLED"
    assert driver.run().data.metrics == {}


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_what_a_trial_could_go_on_from_goes_when_it_is_over(
    start: Callable[[], Driver], tmp_path: Path, outcome: Outcome
) -> None:
    folder = trial_folder(str(tmp_path), SPEC.index)
    for _ in range(2):
        save_state(folder, {})
    start().tell(record(outcome))
    assert [folder.exists(name) for name in (STATE_FILE, PREVIOUS_STATE_FILE)] == [outcome in RESUMABLE] * 2


@pytest.mark.parametrize("kind", ["train", "finalist", "audit"])
def test_what_the_next_command_tries_again_keeps_its_state(
    start: Callable[[], Driver], tmp_path: Path, kind: str
) -> None:
    """A training that failed at full length is retried; one that failed in a search, or in an audit, is over."""
    driver = start()
    of = (driver.tracker, driver.artifacts, str(tmp_path), DATA, ("a", "b"))
    kinds = {"train": TrainRuns(*of, "train-x", {}), "finalist": FinalistRuns(*of, seed=0), "audit": AuditRuns(*of)}
    folder = trial_folder(str(tmp_path), SPEC.index)
    save_state(folder, {})
    kinds[kind].trial_started(SPEC)
    kinds[kind].trial_ended(record("failed"))
    assert folder.exists(STATE_FILE) == (kind != "audit")
    kinds[kind].trial_ended(record("finished"))
    assert not folder.exists(STATE_FILE)


@pytest.mark.parametrize("outcome", ENDINGS)
def test_a_run_that_is_whole_is_not_recorded_again(start: Callable[[], Driver], outcome: Outcome) -> None:
    first, trial = start(), record(outcome)
    if trial.error is not None:
        trial = replace(trial, error="e" * 10_000)  # more than a tag holds
    first.tell(trial)
    before = first.run().to_dictionary()
    second = start()
    second.runs.trial_restored(trial)
    assert second.run().to_dictionary() == before  # its end time, too
    assert second.artifacts.made == []


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CONFIG_FILE])
def test_a_run_that_has_lost_its_weights_is_recorded_again(start: Callable[[], Driver], name: str) -> None:
    first = start()
    first.tell(record("asha"))
    before, run = first.recorded(), first.run()
    Path(run.info.artifact_uri.removeprefix("file://"), ARTIFACTS, name).unlink()
    assert lost_weights(first.tracker.client, run.info.run_id) == f"{ARTIFACTS}/{name} of run {run.info.run_id[:8]}"
    second = start()
    second.runs.trial_restored(record("asha"))
    assert second.recorded() == before
    assert second.run().info.run_id == run.info.run_id
    assert lost_weights(first.tracker.client, run.info.run_id) is None


def test_where_the_server_is_away_a_run_is_recorded_again_and_nothing_dies_with_it(
    start: Callable[[], Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def away(*arguments: object) -> None:
        asked.append(arguments)
        raise MlflowException("the server is away")

    first = start()
    first.tell(record("asha"))
    before, second = first.recorded(), start()
    with monkeypatch.context() as patch:
        patch.setattr(second.tracker.client, "list_artifacts", away)
        for _ in range(3):
            second.runs.trial_restored(record("asha"))
    assert len(asked) == 1  # each answer may take minutes not to come
    assert second.artifacts.made != []
    assert second.recorded() == before


def test_a_run_whose_trial_did_no_epoch_needs_no_weights(start: Callable[[], Driver]) -> None:
    first = start()
    first.tell(record("diverged", ()))
    before = first.run().to_dictionary()
    second = start()
    second.runs.trial_restored(record("diverged", ()))
    assert second.run().to_dictionary() == before


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_the_decisions_of_a_trial_are_a_tag_of_its_run(start: Callable[[], Driver], outcome: Outcome) -> None:
    driver = start()
    driver.tell(replace(record(outcome), decisions=DECISIONS))
    recorded = json.loads(driver.recorded()["tags"]["pipeline.decisions"])
    assert recorded == [asdict(decision) for decision in DECISIONS]
    assert tuple(Decision(**each) for each in recorded) == DECISIONS


def test_finalists_and_audited_trials_have_runs_of_their_own(start: Callable[[], Driver]) -> None:
    driver = start()
    of = (driver.tracker, driver.artifacts, "nowhere", DATA, ("a", "b"))
    for runs in (TrialRuns(*of), FinalistRuns(*of, seed=0), FinalistRuns(*of, seed=1), AuditRuns(*of)):
        for spec in (SPEC, replace(SPEC, index=0)):
            runs.trial_started(spec)
    driver.tracker.flush()
    client = MlflowClient(driver.tracker.uri)
    sweep = driver.tracker.run_id(SWEEP_RUN)
    children = client.search_runs([driver.run().info.experiment_id], f"tags.`mlflow.parentRunId` = '{sweep}'")
    kinds = sorted((run.info.run_name, run.data.tags["pipeline.kind"]) for run in children)
    assert kinds == [
        ("audit-00", "audit"), ("audit-01", "audit"), ("published-seed-0", "finalist"),
        ("published-seed-1", "finalist"), ("trial-00", "trial"), ("trial-01", "trial"),
        ("trial-01-seed-0", "finalist"), ("trial-01-seed-1", "finalist"),
    ]  # fmt: skip
    seeds = {run.info.run_name: run.data.tags.get("pipeline.confirm_seed") for run in children}
    assert (seeds["trial-01-seed-0"], seeds["published-seed-1"], seeds["audit-01"]) == ("0", "1", None)


def nothing(driver: Driver, trial: TrialRecord) -> None:
    """Records nothing: the process died before it recorded the trial."""


def a_start(driver: Driver, trial: TrialRecord) -> None:
    driver.runs.trial_started(trial.spec)


def some_epochs(driver: Driver, trial: TrialRecord) -> None:
    driver.runs.trial_started(trial.spec)
    for epoch in trial.epochs[:2]:
        driver.runs.epoch_done(trial.spec, epoch)


def all_but_figures(driver: Driver, trial: TrialRecord) -> None:
    driver.artifacts.dies = True
    driver.tell(trial)


def an_interrupt_before_figures(driver: Driver, trial: TrialRecord) -> None:
    all_but_figures(driver, trial)
    driver.tracker.end_run(trial_key(trial.index), "KILLED", {"pipeline.stopped": "interrupted"})


def a_failure_before_figures(driver: Driver, trial: TrialRecord) -> None:
    all_but_figures(driver, trial)
    driver.tracker.end_run(trial_key(trial.index), "FAILED", {"pipeline.error": "OSError: the driver's own"})


PARTS = (nothing, a_start, some_epochs, all_but_figures, an_interrupt_before_figures, a_failure_before_figures)


@pytest.mark.parametrize("outcome", ENDINGS)
def test_incomplete_runs_are_recorded_again(start: Callable[[], Driver], database: str, outcome: Outcome) -> None:
    first = start()
    trials = [replace(record(outcome), spec=replace(SPEC, index=index)) for index in range(1, len(PARTS) + 1)]
    for tell_part, trial in zip(PARTS, trials, strict=True):
        first.artifacts.dies = False
        tell_part(first, trial)
    second = start()
    for trial in trials:
        second.runs.trial_restored(trial)
    with closing(Driver(database, f"experiment-{next(_numbers)}", second.runs.trials_folder)) as undisturbed:
        for trial in trials:
            undisturbed.tell(trial)
        for tell_part, trial in zip(PARTS, trials, strict=True):
            assert second.recorded(trial.index) == undisturbed.recorded(trial.index), tell_part.__name__
    assert len(second.artifacts.made) == len(PARTS)


def test_a_training_by_itself_has_no_parent_and_its_own_name(start: Callable[[], Driver]) -> None:
    driver, tags = start(), {"pipeline.kind": "train"}
    runs = TrainRuns(driver.tracker, driver.artifacts, "nowhere", DATA, ("a", "b"), "train-digits", tags)
    runs.trial_started(SPEC)
    run = driver.run()
    assert run.info.run_name == "train-digits"
    assert run.data.tags["pipeline.kind"] == "train"
    assert not {"pipeline.trial", "mlflow.parentRunId"} & run.data.tags.keys()


def test_the_published_configuration_and_a_refused_checkpoint_are_tagged(start: Callable[[], Driver]) -> None:
    driver, baseline = start(), replace(SPEC, index=0)
    for spec in (baseline, SPEC):
        driver.runs.trial_started(spec)
    driver.runs.checkpoint_refused(SPEC, "x/latest.pt cannot be read: short")
    assert driver.run(0).data.tags["pipeline.baseline"] == "published"
    assert "pipeline.baseline" not in driver.run().data.tags
    assert driver.run().data.tags["pipeline.refused_checkpoint"] == "x/latest.pt cannot be read: short"


@pytest.mark.parametrize("part", [nothing, a_start])
def test_a_run_that_is_recorded_late_tells_when_its_trial_ended(
    start: Callable[[], Driver], part: Callable[[Driver, TrialRecord], None]
) -> None:
    trained = [replace(epoch, at=1_700_000_000_000 + 9_000 * epoch.number) for epoch in EPOCHS]
    trial = record("asha", tuple(replace(epoch, metrics={**epoch.metrics, "epoch_seconds": 8.5}) for epoch in trained))
    part(start(), trial)
    driver = start()
    driver.runs.trial_restored(trial)
    info = driver.run().info
    assert info.end_time == 1_700_000_027_000
    if part is nothing:
        assert info.start_time == 1_700_000_000_500


def test_a_trial_without_an_epoch_is_recorded_late_as_of_now(start: Callable[[], Driver]) -> None:
    driver = start()
    driver.runs.trial_restored(record("diverged", ()))
    info = driver.run().info
    assert time.time() - DEADLINE < info.start_time / 1000 <= info.end_time / 1000
