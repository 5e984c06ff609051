"""Tests that finished stages are reused after a kill and from another machine, and only if their files still exist.

The tests use a cluster of two nodes and a tracking server.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import ray
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.cluster_utils import Cluster

from pipeline.cluster.connection import connected
from tests.integration.commands import (
    TrackingServer,
    client_of,
    run_here,
    runs_of,
    start,
    trial_runs_of,
    wait_until,
)
from tests.integration.sweeps import ends, stamps, summary

pytestmark = pytest.mark.slow

SWEEP = (
    "--dataset", "digits", "--train-limit", "300", "--seed", "1", "--trials", "3", "--max-epochs", "2", "--precision",
    "fp32", "--finalists", "1", "--seeds", "1", "--json", "result.json",
)  # fmt: skip
STAGES = ["prepare", "search", "baseline", "confirm", "evaluate", "register", "report"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes with a core each, on this machine."""
    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 200_000_000}
    two_nodes = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    try:
        two_nodes.add_node(**options)
        two_nodes.wait_for_nodes()
        yield two_nodes.address
    finally:
        two_nodes.shutdown()


Sweep = Callable[..., str]


def test_a_sweep_from_its_kill_in_confirm_to_another_place(
    cluster: str, tracking_server: TrackingServer, tmp_path: Path
) -> None:
    work, uri = tmp_path / "work", tracking_server.uri
    work.mkdir()

    def run(*more: str) -> str:
        """Runs the sweep to its end on the cluster, and returns what it prints."""
        done = run_here("pipeline.sweep", work, *SWEEP, "--tracking-uri", uri, "--address", cluster, *more)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    with start("pipeline.sweep", work, *SWEEP, "--tracking-uri", uri) as process:  # it starts its own Ray
        wait_until(lambda: list(work.glob("sweeps/*/finalists/0/0000[1-9]/trial.json")), process)
        # Runs are recorded in order, so those of all stages before `confirm` are in the store too.
        wait_until(lambda: any(each.info.run_name == "confirm" for each in runs_of(uri)), process)
        process.kill()
    trials, files = ends(trial_runs_of(uri)), stamps(work / "sweeps", {0, 1, 2})
    assert len(trials) == 3

    said = run()
    reasons = _verdicts(said)
    assert [stage for stage, line in reasons.items() if line.startswith("cached")] == ["prepare", "search", "baseline"]
    assert reasons["confirm"] == "run, because it has not finished before"
    assert reasons["report"] == "run, because confirm runs"
    assert "with 1 seed each, 2 at once" in said  # one on each node
    assert f"promote:         python -m pipeline.promote --model vit-digits --tracking-uri {uri}" in said
    assert ends(trial_runs_of(uri)) == trials
    assert stamps(work / "sweeps", {0, 1, 2}) == files
    runs, result = runs_of(uri), summary(work)
    assert {each.info.status for each in runs} <= {"FINISHED", "KILLED"}
    assert len(runs) == 1 + len(STAGES) + 3 + 2  # the sweep, its stages, three trials and two finalists
    outcomes = {stage["name"]: stage["outcome"] for stage in result["stages"]}
    assert outcomes == {name: "cached" if reasons[name].startswith("cached") else "run" for name in STAGES}
    assert {path.name for path in work.iterdir()} == {"sweeps", "result.json"}  # there is no local database
    _assert_recorded(client_of(uri), result, tmp_path)
    _assert_whole(cluster)

    before = ends(runs_of(uri))
    assert not [line for line in _verdicts(run()).values() if not line.startswith("cached")]
    assert (ends(runs_of(uri)), summary(work)) == (before, result)

    run_id = result["winner"]["run_ids"][0]
    weights = _artifact(tmp_path, client_of(uri).get_run(run_id), "checkpoint/model.safetensors")
    _a_file_that_is_gone_is_missed(run, weights, client_of(uri).get_run(run_id))

    # None of the sweep's folders is there now, as on another machine with the same tracking server.
    (work / "sweeps").rename(work / "elsewhere")
    _what_is_out_of_reach_is_fetched(run, work, [model["test_accuracies"] for model in result["confirm"]["models"]])
    assert len(trial_runs_of(uri)) == 3


def _a_file_that_is_gone_is_missed(run: Sweep, weights: Path, of: Run) -> None:
    content = weights.read_bytes()
    weights.unlink()
    stage = "baseline" if "published" in of.info.run_name else "confirm"
    reasons = _verdicts(run("--until", "confirm"))
    assert reasons[stage] == f"run, because checkpoint/model.safetensors of run {of.info.run_id[:8]} is gone"
    assert reasons["search"].startswith("cached")
    assert weights.read_bytes() == content  # taken from the trial's folder, which still had it


def _what_is_out_of_reach_is_fetched(run: Sweep, work: Path, scores: list[list[float]]) -> None:
    reasons = _verdicts(run("--from", "evaluate"))
    assert all(reasons[stage].startswith("cached") for stage in STAGES[:4])
    assert reasons["evaluate"] == "run, because --from evaluate says so"
    again = summary(work)
    assert again["test_set_reads"] == 2
    assert list((work / "sweeps").glob("*/fetched/*/model.safetensors"))
    assert [model["test_accuracies"] for model in again["confirm"]["models"]] == scores


def _verdicts(said: str) -> dict[str, str]:
    """Returns for each stage what the sweep printed before it: whether it runs, and why."""
    return dict(re.findall(r"^(\w+): ((?:run, because|cached from run) .*)$", said, re.MULTILINE))


def _artifact(folder: Path, of: Run, path: str) -> Path:
    """Returns the path at which the tracking server in `folder` keeps an artifact of the run."""
    scheme, _, location, *_ = urlsplit(str(of.info.artifact_uri))
    assert scheme == "mlflow-artifacts"
    return folder / "artifacts" / location.lstrip("/") / path


def _assert_recorded(client: MlflowClient, result: dict[str, Any], folder: Path) -> None:
    sweep = client.get_run(result["sweep"]["run_id"])
    assert sweep.data.params["max_concurrent"] == "2"
    children = client.search_runs([sweep.info.experiment_id], f"tags.`mlflow.parentRunId` = '{sweep.info.run_id}'")
    trials = [run for run in children if run.data.tags["pipeline.kind"] == "trial"]
    assert sorted(run.data.tags["pipeline.trial"] for run in trials) == ["0", "1", "2"]
    for run in trials:
        weights = _artifact(folder, run, "checkpoint/model.safetensors")
        assert weights.stat().st_size > 4 * int(run.data.params["num_parameters"])
        assert {file.path for file in client.list_artifacts(run.info.run_id, "figures")} > {"figures/curves.png"}
    version = client.get_model_version_by_alias("vit-digits", "challenger")
    assert version.run_id in {run.info.run_id for run in children if run.data.tags["pipeline.kind"] == "finalist"}
    assert version.source is not None
    model_id = version.source.removeprefix("models:/")  # through a server, the version's own `model_id` is None
    assert {file.path for file in client.list_logged_model_artifacts(model_id)} > {"MLmodel"}


def _assert_whole(cluster: str) -> None:
    """Checks that the cluster still has both its nodes, and that nothing of the ended sweep holds its cores."""
    with connected(cluster):
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        wait_until(lambda: ray.available_resources().get("CPU") == 2)
