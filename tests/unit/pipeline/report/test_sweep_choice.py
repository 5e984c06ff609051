"""Tests how the sweep that a user means is found in a real tracking store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.errors import UsageError
from pipeline.report.sweep_choice import find_sweep
from pipeline.tracking.tracker import Tracker

NAMES = ["sweep-digits-1", "sweep-digits-2", "unfinished"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """Yields the client of a store with two sweeps that have a result, a newer one that has none, and a trial."""
    tracker = Tracker(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db", "vit-digits")
    for at, name in enumerate(NAMES, start=1000):
        tags = {"pipeline.kind": "sweep", "pipeline.command": "python -m pipeline.sweep --trials 4"}
        result = {} if name == "unfinished" else {"pipeline.winner": "3"}
        tracker.start_run(name, name, None, {**tags, **result}, at=at)
    tracker.start_run("trial", "trial-00", None, {"pipeline.kind": "trial"})
    tracker.close()
    yield tracker.client


def test_the_newest_with_a_result_is_meant_where_none_is_named(client: MlflowClient) -> None:
    assert find_sweep(client, None).info.run_name == "sweep-digits-2"


def test_a_name_a_run_id_and_its_beginning_name_the_same_sweep(client: MlflowClient) -> None:
    run_id = find_sweep(client, "sweep-digits-1").info.run_id
    assert {find_sweep(client, wanted).info.run_id for wanted in (run_id, run_id[:8])} == {run_id}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            "sweep-digits-3",
            "SWEEP is 'sweep-digits-3', but must be the name or run id of a sweep in this tracking store; the newest: ",
        ),
        ("trial-00", "SWEEP is 'trial-00'"),
        ("unfinished", "has no result yet: give its command again, python -m pipeline.sweep --trials 4"),
    ],
)
def test_what_is_no_finished_sweep_is_refused(client: MlflowClient, wanted: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        find_sweep(client, wanted)
    assert said in str(refused.value)


def test_a_store_without_a_sweep_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no sweep with a result"):
        find_sweep(Tracker(f"sqlite:///{tmp_path}/mlflow.db", "vit-digits").client, None)
