"""Tests which run in MLflow a stage writes when it runs again, on a real SQLite store."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.graph.graph import Graph
from pipeline.graph.plan import StageSelection, plan_graph
from pipeline.graph.runner import GraphRunner, StageRecord
from pipeline.graph.stage import Stage
from pipeline.graph.stage_memory import STAGE_FILE, StageMemory
from pipeline.tracking.test_set_reads import count_test_set_reads, record_test_set_read
from pipeline.tracking.tracker import Tracker


class Store:
    """A store in which one command after another, of the same owner, runs `confirm` and `evaluate`."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = MlflowClient(self.uri)

    def sweep(self, confirmed: Callable[[], int]) -> dict[str, int]:
        records: dict[str, StageRecord] = {}
        with closing(Tracker(self.uri, "vit-x", "me")) as tracker:

            def evaluate(confirm: int) -> int:
                record_test_set_read(tracker, records["evaluate"].key, "sha256:test")
                return 10 * confirm

            graph = Graph([Stage("confirm", (), confirmed, int), Stage("evaluate", ("confirm",), evaluate, int)])
            plan = plan_graph(graph, StageSelection(), StageMemory(self.client, "vit-x", "me"))
            tracker.start_run("sweep", "sweep")
            return GraphRunner(plan, tracker, "sweep", records, lambda line: None).run(lambda: False)

    def runs_of(self, stage: str) -> list[Run]:
        """Returns the runs of a stage, oldest first."""
        experiment = self.client.get_experiment_by_name("vit-x")
        assert experiment is not None
        found = self.client.search_runs([experiment.experiment_id], f"tags.`pipeline.stage` = '{stage}'")
        return sorted(found, key=lambda run: run.info.start_time)

    def cached(self) -> dict[str, str]:
        """Returns the runs whose outputs the newest command says it has reused, by tag."""
        experiment = self.client.get_experiment_by_name("vit-x")
        assert experiment is not None
        (sweep,) = self.client.search_runs([experiment.experiment_id], "attributes.run_name = 'sweep'")
        return {name: value for name, value in sweep.data.tags.items() if name.startswith("pipeline.cached.")}

    def output_of(self, run: Run) -> int:
        path = Path(run.info.artifact_uri.removeprefix("file://"), STAGE_FILE)
        return int(json.loads(path.read_text())["output"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_stage_that_runs_on_another_output_writes_a_run_of_its_own(store: Store) -> None:
    """Otherwise a second read of the test images would not count, and the result of the first would be lost."""
    assert store.sweep(lambda: 1) == {"confirm": 1, "evaluate": 10}
    (confirmed,) = store.runs_of("confirm")
    store.client.delete_run(confirmed.info.run_id)
    assert store.sweep(lambda: 2) == {"confirm": 2, "evaluate": 20}
    assert [store.output_of(run) for run in store.runs_of("evaluate")] == [10, 20]
    assert count_test_set_reads(store.client, "sha256:test") == 2


def test_a_stage_that_failed_goes_on_in_its_run(store: Store) -> None:
    def fails() -> int:
        raise OSError("out of reach")

    with pytest.raises(OSError, match="out of reach"):
        store.sweep(fails)
    (failed,) = store.runs_of("confirm")
    assert failed.info.status == "FAILED"
    store.sweep(lambda: 1)
    (run,) = store.runs_of("confirm")
    assert (run.info.run_id, run.info.status) == (failed.info.run_id, "FINISHED")


def test_what_a_command_computes_itself_it_no_longer_names_another_run_for(store: Store) -> None:
    """Otherwise `--why` would explain the trials of another sweep, whose search only an earlier command reused."""
    store.sweep(lambda: 1)
    assert store.cached() == {}
    store.sweep(lambda: 1)
    confirmed, evaluated = (store.runs_of(stage)[0].info.run_id for stage in ("confirm", "evaluate"))
    assert store.cached() == {"pipeline.cached.confirm": confirmed, "pipeline.cached.evaluate": evaluated}
    store.client.delete_run(evaluated)
    store.sweep(lambda: 1)
    assert store.cached() == {"pipeline.cached.confirm": confirmed}
