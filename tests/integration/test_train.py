"""Tests that `pipeline.train` on two nodes gives the same numbers as one process, whatever dies on the way."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from pipeline.cluster.connection import connected
from pipeline.training.distributed_training import Assignment
from pipeline.training.driver_loop import run_trainings
from pipeline.training.training import LoadedData, Training, TrainingContext, TrainingData
from pipeline.training.worker_group import SharedData, WorkerGroupConfig
from pipeline.trials.folder import TrialHistory
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord
from tests.integration.commands import (
    assert_gone,
    free_port,
    processes_below,
    run_here,
    runs_of,
    start,
    train_workers,
    wait_until,
)
from tests.integration.readme import commands_of
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.files.storage import Folder
from vit.training.parallel import Workers
from vit.training.recipes import published
from vit.training.runtime import Runtime

pytestmark = pytest.mark.slow

EPOCHS = 10
IMAGES = 320
FAST_DEATHS = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
SOON = ("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
"""An environment variable: the seconds that Ray Train waits for a group of workers to start before it decides again how
many to start; the default is a minute."""
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 200_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes with a core each, on this machine."""
    head = {**NODE, "include_dashboard": True, "dashboard_port": free_port(), "_system_config": FAST_DEATHS}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes.add_node(**NODE)
        nodes.wait_for_nodes()
        yield nodes
    finally:
        nodes.shutdown()


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DataConfig("digits", train_limit=IMAGES))


@pytest.fixture(scope="module")
def spec(dataset: Dataset) -> TrialSpec:
    """What `pipeline.train --epochs 10` trains."""
    model, recipe = published(dataset.shape, EPOCHS)
    return TrialSpec(0, model, recipe, seed=0)


@pytest.fixture(scope="module")
def reference(dataset: Dataset, spec: TrialSpec, tmp_path_factory: pytest.TempPathFactory) -> TrialHistory:
    """The history of the same training in this process alone, without interruptions."""
    folder = str(tmp_path_factory.mktemp("reference"))
    runtime = Runtime(precision="fp32")
    data = LoadedData.of(_training_data(dataset), runtime.device)
    training = Training(spec, data, TrainingContext(folder, "fp32", compile=False), runtime, Workers())
    while not training.is_done:
        training.run_epoch()
    return training.history


class _AtEpoch(Observer):
    """Calls `act` when a given epoch is reported."""

    def __init__(self, epoch: int, act: Any) -> None:
        self._epoch, self._act = epoch, act

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        if epoch.number == self._epoch:
            self._act()


def test_elastic_workers_go_on_with_those_that_are_left_when_a_node_dies(
    cluster: Cluster,
    dataset: Dataset,
    spec: TrialSpec,
    reference: TrialHistory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The numbers stay the same, and a training that the same workers had finished before stays unchanged."""
    monkeypatch.setenv(*SOON)
    node = cluster.list_all_nodes()[-1]
    with connected(cluster.address):
        context = TrainingContext(str(tmp_path), "fp32", compile=False)
        short = replace(spec, index=1, recipe=replace(spec.recipe, epochs=1))
        lose_the_node = _AtEpoch(2, lambda: cluster.remove_node(node, allow_graceful=False))
        first, record = run_trainings(
            [Assignment(short, context), Assignment(spec, context, [lose_the_node])],
            SharedData.put(_training_data(dataset)),
            WorkerGroupConfig(1, 2, cpus=1, gpus=0, folder=str(tmp_path), max_failures=1),
            interrupted=lambda: False,
        )
        assert sum(alive["Alive"] for alive in ray.nodes()) == 1
    assert (first.outcome, record.outcome) == ("finished", "finished")
    _assert_equal(TrialHistory.read(Folder(f"{tmp_path}/00000")).epochs, reference.epochs)
    assert TrialHistory.read(Folder(f"{tmp_path}/00001")).epochs == [
        {"epoch": epoch.number, "at": epoch.at, "metrics": epoch.metrics} for epoch in first.epochs
    ]


# This test is last because Ray keeps the resource requests of a killed driver's elastic workers for minutes.
def test_whatever_dies_the_numbers_are_those_of_one_undisturbed_process(
    cluster: Cluster, reference: TrialHistory, tmp_path: Path
) -> None:
    """A worker dies, then a node, which is replaced, then the driver, with progress of the training in between."""
    ((module, *flags),) = (words for words in commands_of("pipeline.train") if "--workers" in words)
    if len(cluster.list_all_nodes()) == 1:  # the previous test has removed the other
        cluster.add_node(**NODE)
    flags += ["--train-limit", str(IMAGES), "--epochs", str(EPOCHS), "--precision", "fp32"]
    flags += ["--register", "--address", cluster.address, "--json", "result.json"]
    with start(module, tmp_path, *flags, env=dict([SOON])) as driver:
        wait_until(lambda: _epochs_done(tmp_path) >= 1, driver)
        workers = train_workers()
        assert len(workers) == 2
        assert len({_raylet_of(worker) for worker in workers}) == 2  # spread over the nodes
        workers[1].kill()
        _wait_for_others(driver, tmp_path, workers)
        workers = train_workers()
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        cluster.add_node(**NODE)
        _wait_for_others(driver, tmp_path, workers)
        children = processes_below(driver)
        driver.kill()
    assert_gone(children)
    wait_until(lambda: not train_workers())  # the workers on the cluster end when their driver has ended
    before = _epochs_done(tmp_path)
    assert before < EPOCHS
    done = run_here(module, tmp_path, *flags, "--stall-minutes", "0.002")  # shorter than the start of a worker
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^nothing has progressed for .*(\n  .*)*\n  trial 0 (started|ended epoch) ", done.stdout, re.MULTILINE
    )
    told = [("resuming after ", str(before)), *(("", str(number)) for number in range(before + 1, EPOCHS + 1))]
    assert re.findall(r"^(resuming after )?epoch (\d+)/", done.stdout, re.MULTILINE) == told
    result = json.loads((tmp_path / "result.json").read_text())
    history = _history(tmp_path)
    _assert_equal(history.epochs, reference.epochs)
    assert result["val_accuracy"] == pytest.approx(reference.best_accuracy)
    _assert_recorded(tmp_path, result, history)
    with connected(cluster.address):
        wait_until(lambda: ray.available_resources().get("CPU") == 2)  # the training holds none of the cores any more


def _wait_for_others(driver: subprocess.Popen[str], folder: Path, workers: list[psutil.Process]) -> None:
    """Waits until two other workers have taken over and have trained at least one more epoch."""
    done = _epochs_done(folder)
    wait_until(lambda: len(set(train_workers()) - set(workers)) == 2 and _epochs_done(folder) > done, driver)


def _assert_recorded(folder: Path, result: dict[str, Any], history: TrialHistory) -> None:
    (run,) = runs_of(folder)
    assert (run.info.run_id, run.info.status) == (result["run_id"], "FINISHED")
    assert run.data.tags["pipeline.kind"] == "train"
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    curve = [(entry.step, entry.value) for entry in client.get_metric_history(run.info.run_id, "val/loss")]
    assert curve == [(entry["epoch"], entry["metrics"]["val/loss"]) for entry in history.epochs]
    assert run.data.metrics["test/accuracy"] == result["test_accuracy"]
    version = client.get_model_version_by_alias("vit-digits", "challenger")
    assert (int(version.version), version.run_id) == (result["version"], run.info.run_id)
    figures = {file.path for file in client.list_artifacts(run.info.run_id, "figures")}
    assert figures >= {"figures/curves.png", "figures/test_confusion_matrix.png"}


def _training_data(dataset: Dataset) -> TrainingData:
    normalisation = measure_normalisation(dataset.train.images)
    return TrainingData(dataset.train, dataset.validation, normalisation, dataset.class_names)


def _assert_equal(epochs: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Checks that each epoch is there once, in order, and that its metrics are equal but for rounding."""
    assert [entry["epoch"] for entry in epochs] == [entry["epoch"] for entry in expected]
    for entry, other in zip(epochs, expected, strict=True):
        for name in ("train/loss", "val/loss", "val/accuracy", "learning_rate"):
            assert entry["metrics"][name] == pytest.approx(other["metrics"][name], rel=1e-3), (entry["epoch"], name)


def _history(folder: Path) -> TrialHistory:
    (found,) = folder.glob("sweeps/train-digits-*/trials/00000")
    return TrialHistory.read(Folder(str(found)))


def _epochs_done(folder: Path) -> int:
    return len(_history(folder).epochs) if list(folder.glob("sweeps/*/trials/00000/history.json")) else 0


def _raylet_of(worker: psutil.Process) -> int:
    parent = worker.parent()
    assert parent is not None
    return parent.pid
