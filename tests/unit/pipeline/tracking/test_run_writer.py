"""Tests that a process that takes over continues the runs of its owner, and writes nothing twice."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.tracking.events import DatasetReference, EarlierRun, Status
from pipeline.tracking.tracker import Tracker
from tests.deadline import DEADLINE
from tests.unit.pipeline.tracking.tracked import experiment_numbers, runs_of


@pytest.fixture
def owner(database: Path) -> Iterator[Callable[[str], Tracker]]:
    """Returns a function that opens a tracker of an owner, always in the same experiment."""
    experiment, opened = f"experiment-{next(experiment_numbers)}", []

    def open_tracker(name: str) -> Tracker:
        opened.append(Tracker(f"sqlite:///{database}", experiment, name))
        return opened[-1]

    yield open_tracker
    for tracker in opened:
        tracker.close(timeout=DEADLINE)


DATA = DatasetReference("digits", "sha256:" + "0" * 64, "scikit-learn")


def begin(tracker: Tracker, **params: int) -> None:
    """Starts a sweep with one trial, as both the first process and the one that takes over do."""
    tracker.start_run("sweep", "sweep", None, {"pipeline.kind": "sweep"})
    tracker.start_run("trial/1", "trial-01", "sweep", {"pipeline.kind": "trial"}, params, DATA)


def history_of(tracker: Tracker, key: str, metric: str) -> list[tuple[int, int, float]]:
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id(key), metric)
    return sorted((each.step, each.timestamp, each.value) for each in history)


@pytest.mark.parametrize(
    ("status", "tags"),
    [
        ("KILLED", {"pipeline.stopped": "interrupted"}),
        ("FAILED", {"pipeline.error": "OSError: gone"}),
        (None, {}),  # killed before it could end its runs
    ],
)
def test_who_takes_over_goes_on_with_the_owners_runs(
    owner: Callable[[str], Tracker], status: Status | None, tags: dict[str, str]
) -> None:
    first = owner("one")
    begin(first, depth=3)
    if status is not None:
        first.end_open_runs(status, tags)
    ids = {key: first.run_id(key) for key in ("sweep", "trial/1")}
    first.close()

    second = owner("one")
    as_found = EarlierRun(ids["trial/1"], status or "RUNNING", tags)
    assert second.earlier("trial/1") == as_found
    assert second.earlier("trial/2") is None
    begin(second, depth=3)
    second.start_run("trial/2", "trial-02", "sweep")
    assert {key: second.run_id(key) for key in ids} == ids
    runs = runs_of(second)
    assert set(runs) == {"sweep", "trial-01", "trial-02"}
    assert {run.info.status for run in runs.values()} == {"RUNNING"}
    assert not any(name in run.data.tags for run in runs.values() for name in ("pipeline.stopped", "pipeline.error"))
    assert runs["trial-01"].data.tags["pipeline.kind"] == "trial"
    assert runs["trial-02"].data.tags["mlflow.parentRunId"] == ids["sweep"]

    second.end_run("trial/1", "FINISHED")
    second.flush()
    assert runs_of(second)["trial-01"].info.status == "FINISHED"
    assert second.earlier("trial/1") == as_found
    assert owner("one").earlier("trial/1") == EarlierRun(ids["trial/1"], "FINISHED", {})


def test_what_is_written_again_counts_once(owner: Callable[[str], Tracker]) -> None:
    def tell(tracker: Tracker, epochs: range) -> None:
        begin(tracker, depth=3)
        for epoch in epochs:
            tracker.log("trial/1", {"val/loss": 1 / epoch, "val/accuracy": 0.5}, step=epoch, at=1000 * epoch)

    first = owner("one")
    tell(first, range(1, 4))
    first.close()
    second = owner("one")
    tell(second, range(1, 6))
    assert history_of(second, "trial/1", "val/loss") == [(epoch, 1000 * epoch, 1 / epoch) for epoch in range(1, 6)]
    assert len(history_of(second, "trial/1", "val/accuracy")) == 5
    inputs = runs_of(second)["trial-01"].inputs
    assert inputs is not None
    assert [each.dataset.name for each in inputs.dataset_inputs] == ["digits"]


def test_a_curve_has_one_point_a_step_though_epochs_were_trained_again(owner: Callable[[str], Tracker]) -> None:
    """As after a checkpoint that could not be read: the repeated epochs have other times, and perhaps other metrics."""

    def tell(tracker: Tracker, epochs: range, later: int) -> None:
        begin(tracker, depth=3)
        for epoch in epochs:
            metrics = {"val/loss": epoch + later, "val/accuracy": 0.5}
            tracker.log("trial/1", metrics, step=epoch, at=1000 * epoch + later, once=True)

    first = owner("one")
    tell(first, range(1, 4), later=0)
    first.close()
    second = owner("one")
    tell(second, range(2, 6), later=7)
    second.start_run("trial/2", "trial-02", "sweep")
    second.log("trial/2", {"val/loss": 1.0}, step=1, at=1, once=True)
    expected = [(1, 1000, 1), (2, 2000, 2), (3, 3000, 3), (4, 4007, 11), (5, 5007, 12)]
    assert history_of(second, "trial/1", "val/loss") == expected
    assert [step for step, _, _ in history_of(second, "trial/1", "val/accuracy")] == [1, 2, 3, 4, 5]
    assert history_of(second, "trial/2", "val/loss") == [(1, 1, 1.0)]


def test_a_run_tells_by_which_command_it_goes_on(owner: Callable[[str], Tracker]) -> None:
    first = owner("one")
    first.start_run("sweep", "sweep", tags={"pipeline.command": "sweep --trials 2", "kept": "yes"})
    first.close()
    second = owner("one")
    second.start_run("sweep", "sweep", tags={"pipeline.command": "sweep --trials 4"})
    second.flush()
    tags = runs_of(second)["sweep"].data.tags
    assert (tags["pipeline.command"], tags["kept"]) == ("sweep --trials 4", "yes")


def test_params_that_changed_are_left_as_they_were(
    owner: Callable[[str], Tracker], caplog: pytest.LogCaptureFixture
) -> None:
    first = owner("one")
    begin(first, depth=3, trials=2)
    first.close()
    second = owner("one")
    with caplog.at_level(logging.WARNING, logger="pipeline.tracking"):
        begin(second, depth=3, trials=4, heads=2)
        second.flush(timeout=DEADLINE)
    assert runs_of(second)["trial-01"].data.params == {"depth": "3", "trials": "2", "heads": "2"}
    assert caplog.messages == []


def test_other_owners_runs_are_left_alone(owner: Callable[[str], Tracker]) -> None:
    first = owner("one")
    begin(first, depth=3)
    first.end_run("trial/1", "KILLED", {"pipeline.stopped": "asha"})
    first.close()
    before = by_id(first)
    for name in ("two", "on", "one2"):
        other = owner(name)
        assert other.earlier("trial/1") is None
        other.start_run("trial/1", f"of {name}")
        other.flush()
        after = by_id(other)
        assert other.run_id("trial/1") in after.keys() - before.keys()
        assert {run_id: after[run_id] for run_id in before} == before


def by_id(tracker: Tracker) -> dict[str, Any]:
    """Returns all that is known of each run of the tracker's experiment, by id."""
    return {run.info.run_id: run.to_dictionary() for run in runs_of(tracker).values()}


@pytest.mark.parametrize("lost", [1, 3])
def test_a_run_whose_making_went_unanswered_is_made_once(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    make, search, made, trouble = tracker.client.create_run, tracker.client.search_runs, [], itertools.count(1)

    def make_unheard(*arguments: Any, **options: Any) -> Run:
        made.append(make(*arguments, **options))
        if len(made) == 1:
            raise ConnectionError("the answer is lost")
        return made[-1]

    def search_at_last(*arguments: Any, **options: Any) -> Any:
        if next(trouble) < lost:
            raise ConnectionError("away for longer")
        return search(*arguments, **options)

    monkeypatch.setattr("pipeline.tracking.tracker.RETRY_SECONDS", 0.05)
    monkeypatch.setattr(tracker.client, "create_run", make_unheard)
    monkeypatch.setattr(tracker.client, "search_runs", search_at_last)
    begin(tracker, depth=3)
    tracker.log("trial/1", {"val/loss": 1.0})
    tracker.flush(timeout=DEADLINE)
    assert len(made) == 2
    assert {name: run.info.run_id for name, run in runs_of(tracker).items()} == {
        "sweep": made[0].info.run_id,
        "trial-01": made[1].info.run_id,
    }
    assert tracker.run_id("sweep") == made[0].info.run_id


def test_of_two_runs_of_the_same_key_the_one_with_records_is_gone_on_with(owner: Callable[[str], Tracker]) -> None:
    """MLflow repeats a request by itself if no answer comes in time, and a server that hangs then makes two runs."""
    first = owner("twice")
    begin(first, depth=3)
    first.log("trial/1", {"val/loss": 1.0})
    known, whole = first.client, first.client.get_run(first.run_id("trial/1"))
    tags = {name: value for name, value in whole.data.tags.items() if name != "mlflow.runName"}
    for start_time in (1, whole.info.start_time + 1):  # one looks older, one newer
        known.create_run(whole.info.experiment_id, start_time=start_time, tags=tags, run_name=f"empty-{start_time}")
    assert owner("twice").run_id("trial/1") == whole.info.run_id
