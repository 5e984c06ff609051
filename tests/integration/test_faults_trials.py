"""On a cluster of two nodes: a whole sweep with a tracking server; trials that diverge, are too large, or killed."""

import contextlib
import json
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from pipeline.artifacts import ArtifactMaker
from pipeline.cluster import Allotment, connected
from pipeline.ranking import EpochRecord, TrialRecord
from pipeline.search import Search, run_search
from pipeline.tracking import DatasetReference, Tracker
from pipeline.trials.observers import Observer
from pipeline.trials.rungs import Rungs
from pipeline.trials.runs import SWEEP_RUN, TrialRuns, trial_key
from pipeline.trials.training import TrainingContext, TrainingData
from tests.integration.commands import TrackingServer, run_to_end, title_of
from tune_spaces.space import TrialSpec
from vit.augment import measure_normalisation
from vit.data import DataConfig, load_dataset
from vit.model import ViTConfig
from vit.recipes import Recipe

pytestmark = pytest.mark.slow

EPOCHS = 4


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


def test_a_sweep_on_a_running_cluster_with_a_tracking_server(
    cluster: str, tracking_server: TrackingServer, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    done = run_to_end(
        "pipeline.sweep", folder, "--dataset", "digits", "--train-limit", "300", "--precision", "fp32", "--trials", "3",
        "--max-epochs", "2", "--address", cluster, "--max-concurrent", "1", "--tracking-uri", tracking_server.uri,
        "--json", "result.json", "--finalists", "1", "--seeds", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "1 at once" in done.stdout
    assert (
        f"promote:         python -m pipeline.promote --model vit-digits --tracking-uri {tracking_server.uri}"
        in done.stdout
    )
    assert {path.name for path in folder.iterdir()} == {"sweeps", "result.json"}  # no database here
    _assert_recorded(MlflowClient(tracking_server.uri), json.loads((folder / "result.json").read_text()), tmp_path)
    # The cluster is whole, and nothing of the sweep is left on it.
    with connected(cluster):
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        deadline = time.monotonic() + 30
        while ray.available_resources().get("CPU") != 2:
            assert time.monotonic() < deadline, ray.available_resources()
            time.sleep(0.2)


def _assert_recorded(client: MlflowClient, result: dict[str, dict[str, str]], tmp_path: Path) -> None:
    sweep = client.get_run(result["sweep"]["run_id"])
    assert sweep.info.status == "FINISHED"
    assert sweep.info.artifact_uri.startswith("mlflow-artifacts:")
    assert sweep.data.params["max_concurrent"] == "1"
    children = client.search_runs([sweep.info.experiment_id], f"tags.`mlflow.parentRunId` = '{sweep.info.run_id}'")
    trials = [run for run in children if run.data.tags["pipeline.kind"] == "trial"]
    assert sorted(run.data.tags["pipeline.trial"] for run in trials) == ["0", "1", "2"]
    assert {run.info.status for run in children} <= {"FINISHED", "KILLED"}
    for run in trials:
        path = Path(client.download_artifacts(run.info.run_id, "checkpoint/model.safetensors", str(tmp_path)))
        assert path.stat().st_size > 4 * int(run.data.params["num_parameters"])
        assert {file.path for file in client.list_artifacts(run.info.run_id, "figures")} > {"figures/curves.png"}
    version = client.get_model_version_by_alias("vit-digits", "challenger")
    assert version.run_id in {run.info.run_id for run in children if run.data.tags["pipeline.kind"] == "finalist"}
    assert version.source is not None
    model_id = version.source.removeprefix("models:/")  # over HTTP the version's own `model_id` is None
    assert {file.path for file in client.list_logged_model_artifacts(model_id)} > {"MLmodel"}


class _KillsTheProcess(Observer):
    """Kills the trials' only process when one trial has told of one epoch."""

    def __init__(self, trial: int, epoch: int) -> None:
        self._at = (trial, epoch)
        self.killed: list[int] = []

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        if (spec.index, epoch.number) != self._at:
            return
        children = psutil.Process().children(recursive=True)
        # Its title: the second while it works, the first between two epochs.
        (process,) = (child for child in children if re.match("ray::(Trial|ResourceTrainable)", title_of(child)))
        self.killed.append(process.pid)
        process.send_signal(signal.SIGKILL)


def test_trials_that_diverge_find_no_memory_or_lose_their_process(cluster: str, tmp_path: Path) -> None:
    model = ViTConfig(img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2)
    recipe = Recipe(epochs=EPOCHS, batch_size=32, flip=False)
    diverging = TrialSpec(0, model, replace(recipe, learning_rate=1e30), seed=0)
    too_large = TrialSpec(1, replace(model, embed_dim=2**22), recipe, seed=0)  # 200 TB for one weight
    # Equal but for the number, so that what the kill does to the one is seen by the other.
    killed, whole = (TrialSpec(index, model, recipe, seed=7) for index in (2, 3))
    tracker, artifacts = Tracker(f"sqlite:///{tmp_path}/mlflow.db", "vit-x"), ArtifactMaker()
    killer = _KillsTheProcess(trial=2, epoch=2)
    with connected(cluster), contextlib.closing(artifacts):
        tracker.start_run(SWEEP_RUN, "sweep")
        dataset = DatasetReference("x", "sha256:0", "nowhere")
        digits = tuple(str(digit) for digit in range(10))
        runs = TrialRuns(tracker, artifacts, f"{tmp_path}/trials", dataset, digits)
        records = _search([diverging, too_large, killed, whole], tmp_path, [runs, killer])
        artifacts.finish()
        tracker.close()
    assert len(killer.killed) == 1
    assert [record.outcome for record in records] == ["diverged", "failed", "finished", "finished"]
    assert records[0].error == "the training loss is not finite in epoch 1"
    assert str(records[1].error).startswith("out of memory: ")
    epochs = [[(epoch.number, epoch.loss, epoch.accuracy) for epoch in record.epochs] for record in records]
    assert epochs[:2] == [[], []]
    assert [number for number, _, _ in epochs[2]] == list(range(1, EPOCHS + 1))
    assert epochs[2] == epochs[3]

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    first, second, *others = (client.get_run(tracker.run_id(trial_key(index))) for index in range(4))
    assert (first.info.status, first.data.tags["pipeline.stopped"]) == ("KILLED", "diverged")
    assert first.data.tags["pipeline.error"] == records[0].error
    assert (second.info.status, second.data.tags["pipeline.error"]) == ("FAILED", records[1].error)
    for run in others:
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "val/loss")
        assert [(entry.step, entry.value) for entry in history] == [(number, loss) for number, loss, _ in epochs[2]]


class _Told(Observer):
    """What an observer hears of, in order."""

    def __init__(self) -> None:
        self.news: list[str] = []

    def trial_started(self, spec: TrialSpec) -> None:
        self.news.append("started")

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self.news.append(f"epoch {epoch.number}")

    def trial_ended(self, record: TrialRecord) -> None:
        self.news.append(record.outcome)

    def trial_restored(self, record: TrialRecord) -> None:
        self.news.append(f"restored {record.outcome}")


def _search(specs: list[TrialSpec], folder: Path, observers: list[Observer]) -> list[TrialRecord]:
    """One trial at a time, none stopped early, on few digits."""
    dataset = load_dataset(DataConfig("digits", train_limit=200))
    normalisation = measure_normalisation(dataset.train.images)
    length = specs[-1].recipe.epochs
    search = Search(
        specs,
        TrainingData(dataset.train, dataset.validation, normalisation, dataset.class_names),
        TrainingContext(f"{folder}/trials", "fp32", compile=False),
        Rungs(length, 3, length),
        Allotment(1, 0, 1),
        str(folder),
    )
    return run_search(search, observers, lambda: False)
