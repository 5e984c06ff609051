"""Tests that whatever a tracker is given ends up in MLflow, however the store behaves."""

import itertools
import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.tracking.events import DatasetReference, TrackingError
from pipeline.tracking.tracker import Tracker
from tests.deadline import DEADLINE
from tests.unit.pipeline.tracking.tracked import runs_of


def steps_of(tracker: Tracker, key: str, metric: str) -> list[tuple[int, float]]:
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id(key), metric)
    return [(each.step, each.value) for each in sorted(history, key=lambda each: each.step)]


def picture_in(folder: Path) -> Path:
    """Creates the file `figures/curves.png` in the folder, and returns the folder."""
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "curves.png").write_bytes(b"picture")
    return folder


def test_runs_nest_and_carry_tags_params_and_data(tracker: Tracker) -> None:
    digest = "sha256:" + "0123456789abcdef" * 4
    data = DatasetReference("digits", digest, "scikit-learn")
    tracker.start_run("s", "sweep", None, {"pipeline.kind": "sweep"}, {"trials": 2, "space": None}, data, at=1000)
    tracker.start_run("t0", "trial-00", "s", {"pipeline.trial": "0"}, {"learning_rate": 1e-3})
    tracker.end_run("t0", "FINISHED")
    tracker.end_run("s", "FINISHED")
    tracker.flush()
    runs = runs_of(tracker)
    sweep, trial = runs["sweep"], runs["trial-00"]
    assert sweep.info.start_time == 1000
    assert sweep.data.params == {"trials": "2", "space": "None"}
    assert sweep.data.tags["pipeline.kind"] == "sweep"
    assert "mlflow.parentRunId" not in sweep.data.tags
    assert trial.data.tags["mlflow.parentRunId"] == sweep.info.run_id == tracker.run_id("s")
    assert trial.data.tags["pipeline.trial"] == "0"
    assert trial.data.params == {"learning_rate": "0.001"}
    assert sweep.inputs is not None
    [given] = sweep.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.source) == ("digits", "scikit-learn")
    assert given.dataset.digest == "0123456789abcdef" * 2
    assert trial.inputs is None or not trial.inputs.dataset_inputs


def test_an_experiment_that_another_command_makes_meanwhile_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database file has a lock against this; a server has none."""
    create = MlflowClient.create_experiment

    def create_after_another(client: MlflowClient, name: str, **settings: Any) -> str:
        create(client, name)
        return create(client, name, **settings)

    monkeypatch.setattr(MlflowClient, "create_experiment", create_after_another)
    with closing(Tracker(f"sqlite:///{tmp_path}/mlflow.db", "vit-x")) as tracker:
        tracker.start_run("t", "trial")
    assert runs_of(tracker).keys() == {"trial"}


def test_metrics_stand_at_their_steps(tracker: Tracker) -> None:
    tracker.start_run("t", "trial")
    for epoch in range(1, 6):
        tracker.log("t", {"val/accuracy": epoch / 10, "val/class_accuracy/ant": 0.5}, step=epoch)
    tracker.flush()
    assert steps_of(tracker, "t", "val/accuracy") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]
    assert runs_of(tracker)["trial"].data.metrics == {"val/accuracy": 0.5, "val/class_accuracy/ant": 0.5}


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
def test_a_run_ends_with_its_status(tracker: Tracker, status: str) -> None:
    tracker.start_run("t", "trial")
    before = int(time.time() * 1000)
    tracker.end_run("t", status, {"pipeline.stopped": "asha"})  # type: ignore[arg-type]
    tracker.flush()
    run = runs_of(tracker)["trial"]
    assert run.info.status == status
    assert before <= run.info.end_time <= int(time.time() * 1000)
    assert run.data.tags["pipeline.stopped"] == "asha"


def test_a_run_that_has_ended_takes_more_and_stays_ended(tracker: Tracker, tmp_path: Path) -> None:
    files = picture_in(tmp_path / "files")
    tracker.start_run("t", "trial")
    tracker.end_run("t", "KILLED")
    tracker.log("t", {"test/accuracy": 0.75}, tags={"late": "yes"}, files=files)
    tracker.flush()
    run = runs_of(tracker)["trial"]
    assert run.info.status == "KILLED"
    assert (run.data.metrics, run.data.tags["late"]) == ({"test/accuracy": 0.75}, "yes")
    copy = MlflowClient(tracker.uri).download_artifacts(run.info.run_id, "figures/curves.png", str(tmp_path))
    assert Path(copy).read_bytes() == b"picture"
    assert not files.exists()


def test_files_stay_until_they_are_written(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, write, seen = picture_in(tmp_path / "files"), tracker.client.log_artifacts, []

    def write_at_the_second_try(run_id: str, folder: str) -> None:
        seen.append(sorted(path.name for path in Path(folder).rglob("*.png")))
        if len(seen) == 1:
            raise ConnectionError("not now")
        write(run_id, folder)

    monkeypatch.setattr("pipeline.tracking.tracker.RETRY_SECONDS", 0.05)
    monkeypatch.setattr(tracker.client, "log_artifacts", write_at_the_second_try)
    tracker.start_run("t", "trial")
    tracker.log("t", files=files)
    tracker.log("t", files=files)  # the same files once more: they are written already
    run_id = tracker.run_id("t")
    assert seen == [["curves.png"], ["curves.png"]]
    assert [file.path for file in MlflowClient(tracker.uri).list_artifacts(run_id, "figures")] == ["figures/curves.png"]
    assert not files.exists()


def test_artifacts_stand_beside_the_database_wherever_the_process_stands(tracker: Tracker, database: Path) -> None:
    tracker.start_run("t", "trial")
    tracker.flush()
    uri = runs_of(tracker)["trial"].info.artifact_uri
    assert uri.startswith(f"{(database.parent / 'mlartifacts').as_uri()}/{tracker.experiment}/")


def test_no_run_stays_open(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1000)
    monkeypatch.setattr("pipeline.tracking.tracker._now", lambda: next(clock))
    tracker.start_run("s", "sweep")
    for index in range(3):
        tracker.start_run(f"t{index}", f"trial-{index}", "s")
    tracker.end_run("t1", "FINISHED")
    tracker.end_open_runs("KILLED", {"pipeline.stopped": "interrupted"})
    tracker.flush()
    runs = runs_of(tracker)
    status = {name: run.info.status for name, run in runs.items()}
    assert status == {"sweep": "KILLED", "trial-0": "KILLED", "trial-1": "FINISHED", "trial-2": "KILLED"}
    assert "pipeline.stopped" not in runs["trial-1"].data.tags
    # Children end before their parent.
    ended = sorted(runs, key=lambda name: runs[name].info.end_time)
    assert ended == ["trial-1", "trial-2", "trial-0", "sweep"]
    assert runs["sweep"].data.tags["pipeline.stopped"] == "interrupted"


def test_what_is_too_long_is_cut_and_not_refused(tracker: Tracker) -> None:
    tracker.start_run("t", "trial", params={"long": "p" * 10_000})
    tracker.log("t", {"m" * 300: 1.0})
    tracker.end_run("t", "FAILED", {"pipeline.error": "e" * 10_000})
    tracker.flush()
    run = runs_of(tracker)["trial"]
    assert (run.info.status, run.data.params["long"], len(run.data.tags["pipeline.error"])) == (
        "FAILED",
        "p" * 6000,
        8000,
    )
    assert run.data.metrics == {"m" * 250: 1.0}


def test_a_class_may_be_called_anything(tracker: Tracker) -> None:
    names = ["rock & roll", "c++", "it's", "tench, Tinca tinca", "naïve", "a//b", "", "50%"]
    tracker.start_run("t", "trial")
    tracker.log("t", {f"val/class_accuracy/{name}": 0.5 for name in names} | {"val/loss": 1.0}, step=1)
    tracker.end_run("t", "FINISHED")
    tracker.flush(timeout=DEADLINE)
    run = runs_of(tracker)["trial"]
    assert run.info.status == "FINISHED"
    assert sorted(name.removeprefix("val/class_accuracy") for name in run.data.metrics) == sorted(
        ["/rock _ roll", "/c__", "/it_s", "/tench_ Tinca tinca", "/naïve", "/a/b", "", "/50_", "val/loss"]
    )


def test_a_path_that_is_not_utf_8_is_recorded_as_far_as_it_can_be(tracker: Tracker) -> None:
    path = os.fsdecode(b"caf\xe9")
    tracker.start_run("t", "trial", params={"folder": path})
    tracker.log("t", tags={"path": path})
    tracker.flush(timeout=DEADLINE)
    run = runs_of(tracker)["trial"]
    assert (run.data.tags["path"], run.data.params["folder"]) == ("caf\\udce9", "caf\\udce9")


def test_more_classes_than_one_call_takes(tracker: Tracker) -> None:
    tracker.start_run("t", "trial")
    tracker.log("t", {f"val/class_accuracy/{index}": index / 1500 for index in range(1500)}, step=1)
    tracker.flush(timeout=DEADLINE)
    assert len(runs_of(tracker)["trial"].data.metrics) == 1500


def test_a_record_that_is_refused_holds_up_no_other(tracker: Tracker, caplog: pytest.LogCaptureFixture) -> None:
    tracker.start_run("t", "trial", params={"not a valid (name)": 1})
    tracker.log("nobody", {"val/loss": 1.0})
    tracker.log("t", {"val/loss": 2.0})
    with caplog.at_level(logging.WARNING, logger="pipeline.tracking"):
        tracker.flush(timeout=DEADLINE)
    assert runs_of(tracker)["trial"].data.metrics == {"val/loss": 2.0}
    assert [message.partition(" is lost")[0] for message in caplog.messages] == ["a record of t", "a record of nobody"]
    with pytest.raises(TrackingError, match=r"^nobody has no run in sqlite:///.*, because MLflow refused it$"):
        tracker.run_id("nobody")


def test_a_locked_database_holds_up_the_writer_and_not_the_training(tracker: Tracker, database: Path) -> None:
    tracker.start_run("t", "trial")
    tracker.flush()
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        for epoch in range(1, 101):
            tracker.log("t", {"val/loss": float(epoch)}, step=epoch)
        tracker.end_run("t", "FINISHED")
        assert time.monotonic() - started < 0.5
        ended = int(time.time() * 1000)
        with pytest.raises(TrackingError, match=f"101 records could not be written to {tracker.uri}: "):
            tracker.flush(timeout=0.5)
        holder.execute("ROLLBACK")
    tracker.flush(timeout=DEADLINE)
    assert steps_of(tracker, "t", "val/loss") == [(epoch, float(epoch)) for epoch in range(1, 101)]
    run = runs_of(tracker)["trial"]
    assert run.info.status == "FINISHED"
    assert run.info.end_time <= ended  # the time when it ended, not when this could be written


def test_a_second_tracker_finds_the_experiment(tracker: Tracker) -> None:
    tracker.start_run("t", "one")
    tracker.flush()
    again = Tracker(tracker.uri, tracker.experiment)
    again.start_run("t", "two")
    again.close()
    assert set(runs_of(tracker)) == {"one", "two"}
