"""One real sweep, run as a user runs it, and read back as a user would: from MLflow, the registry and the output."""

import csv
import json
import math
import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from safetensors import safe_open

from tests.integration.commands import run_to_end
from tune_spaces import SPACES
from tune_spaces.space import draw_trials
from vit.checkpoint import load_model
from vit.data import DataConfig, Dataset, load_dataset
from vit.fit import Runtime, Split, evaluate
from vit.storage import Folder

pytestmark = pytest.mark.slow

TRIALS, EPOCHS, SEED = 6, 4, 1
DIGITS = [str(digit) for digit in range(10)]
STAGES = ["prepare", "search", "evaluate", "register", "report"]
EPOCH_METRICS = {
    "train/loss", "train/accuracy", "val/loss", "val/accuracy", "learning_rate", "images_per_second", "epoch_seconds",
    *(f"val/class_accuracy/{digit}" for digit in DIGITS),
}  # fmt: skip
TEST_METRICS = {"test/loss", "test/accuracy", *(f"test/class_accuracy/{digit}" for digit in DIGITS)}
BEST_METRICS = {"best/epoch", "best/val_accuracy", "best/val_loss"}
FIGURES = {"curves.png", "class_accuracy.png", "confusion_matrix.png"}
TEST_FIGURES = {"test_class_accuracy.png", "test_confusion_matrix.png"}


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended, and what it left."""

    folder: Path
    temporary: Path
    stdout: str
    stderr: str
    result: dict[str, Any]
    aliases: dict[str, int]
    """The registered model's, right after the sweep."""

    @cached_property
    def client(self) -> MlflowClient:
        # The plain file in the working directory: what `mlflow ui` shows there.
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    @cached_property
    def run(self) -> Run:
        return self.client.get_run(self.result["sweep"]["run_id"])

    @cached_property
    def children(self) -> list[Run]:
        found = self.client.search_runs(
            [self.run.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{self.run.info.run_id}'",
            order_by=["attributes.start_time"],
        )
        return list(found)

    @cached_property
    def trials(self) -> dict[int, Run]:
        """By the trial's number."""
        trials = [run for run in self.children if run.data.tags["pipeline.kind"] == "trial"]
        return {int(run.data.tags["pipeline.trial"]): run for run in trials}

    def history(self, trial: int, metric: str) -> list[float]:
        return [entry.value for entry in self.client.get_metric_history(self.trials[trial].info.run_id, metric)]

    def artifact(self, run: Run, path: str, to: Path) -> Path:
        return Path(self.client.download_artifacts(run.info.run_id, path, str(to)))


def run_module(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    # Ray's sockets need a short path, so its own files stay where they always are.
    return run_to_end(module, folder, *arguments, env={"TMPDIR": str(temporary), "RAY_TMPDIR": "/tmp"})


def run_sweep(folder: Path, *arguments: str) -> Sweep:
    done = run_module(folder, "pipeline.sweep", "--dataset", "digits", "--json", "result.json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "result.json").read_text())
    model = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_registered_model("vit-digits")
    aliases = {alias: int(version) for alias, version in model.aliases.items()}
    return Sweep(folder, folder / "temporary", done.stdout, done.stderr, result, aliases)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("sweep")
    return run_sweep(folder, "--trials", str(TRIALS), "--max-epochs", str(EPOCHS), "--seed", str(SEED))


@pytest.fixture(scope="module")
def promotions(sweep: Sweep) -> list[subprocess.CompletedProcess[str]]:
    """What the printed command does, twice."""
    line = next(line for line in sweep.stdout.splitlines() if line.startswith("promote:"))
    python, flag, module, *arguments = shlex.split(line.removeprefix("promote:"))
    assert (python, flag) == ("python", "-m")
    return [run_module(sweep.folder, module, *arguments) for _ in range(2)]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DataConfig("digits"))


def test_one_sweep_run_and_its_stages(sweep: Sweep) -> None:
    experiment = sweep.client.get_experiment(sweep.run.info.experiment_id)
    assert experiment.name == "vit-digits"
    runs = sweep.client.search_runs([experiment.experiment_id], "tags.`pipeline.kind` = 'sweep'")
    assert [run.info.run_id for run in runs if run.info.start_time <= sweep.run.info.start_time] == [
        sweep.run.info.run_id
    ]
    assert sweep.run.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in sweep.run.data.tags
    stages = [run for run in sweep.children if run.data.tags["pipeline.kind"] == "stage"]
    assert [run.data.tags["pipeline.stage"] for run in stages] == STAGES
    assert {run.info.status for run in stages} == {"FINISHED"}
    assert all(run.data.metrics["seconds"] >= 0 for run in stages)
    assert len(sweep.children) == len(STAGES) + TRIALS


def test_every_trial_has_a_run_that_says_how_it_ended(sweep: Sweep) -> None:
    assert sorted(sweep.trials) == list(range(TRIALS))
    ended = {row["trial"]: row["ended"] for row in sweep.result["leaderboard"]}
    for index, run in sweep.trials.items():
        stopped = run.data.tags.get("pipeline.stopped")
        assert (run.info.status, stopped) in [("FINISHED", None), ("KILLED", "asha")], index
        assert ended[index] == (stopped or "finished")
        assert run.info.end_time >= run.info.start_time >= sweep.run.info.start_time
        assert run.info.end_time <= sweep.run.info.end_time
        full = len(sweep.history(index, "val/accuracy")) == EPOCHS
        assert full == (run.info.status == "FINISHED"), index


def test_params_are_the_trials_that_the_space_gives(sweep: Sweep, dataset: Dataset) -> None:
    for spec in draw_trials(SPACES["small"], dataset.shape, TRIALS, EPOCHS, SEED):
        params = sweep.trials[spec.index].data.params
        expected = {name: str(value) for name, value in spec.params.items()}
        assert {"patch_size", "depth", "num_heads", "embed_dim", "learning_rate", "seed"} <= expected.keys()
        assert {name: params[name] for name in expected} == expected
        assert params.keys() - expected.keys() == {"num_parameters"}


def test_metrics_have_one_value_for_each_epoch(sweep: Sweep) -> None:
    measured = {sweep.result["winner"]["trial"], sweep.result["baseline"]["trial"]}
    for index, run in sweep.trials.items():
        expected = EPOCH_METRICS | BEST_METRICS | (TEST_METRICS if index in measured else set())
        assert run.data.metrics.keys() == expected
        steps = set()
        for name in EPOCH_METRICS:
            history = sweep.client.get_metric_history(run.info.run_id, name)
            steps.add(tuple(entry.step for entry in history))
            assert all(math.isfinite(entry.value) for entry in history)
        (only,) = steps
        assert only == tuple(range(1, len(only) + 1))
        accuracies = sweep.history(index, "val/accuracy")
        assert run.data.metrics["best/val_accuracy"] == max(accuracies)
        assert run.data.metrics["best/epoch"] == accuracies.index(max(accuracies)) + 1


def test_test_figures_stand_where_the_test_images_were_read(sweep: Sweep) -> None:
    measured = {index for index, run in sweep.trials.items() if "test/accuracy" in run.data.metrics}
    assert measured == {sweep.result["winner"]["trial"], 0}
    for name in ("winner", "baseline"):
        figures = sweep.result[name]
        assert sweep.trials[figures["trial"]].data.metrics["test/accuracy"] == figures["test_accuracy"]
        assert figures["test_accuracy"] == figures["test_correct"] / sweep.result["dataset"]["test_images"]
    assert sweep.run.data.metrics["test/accuracy"] == sweep.result["winner"]["test_accuracy"]
    assert sweep.run.data.metrics["best/val_accuracy"] == sweep.result["winner"]["val_accuracy"]


def test_runs_name_their_data(sweep: Sweep, dataset: Dataset) -> None:
    assert sweep.result["dataset"]["digest"] == dataset.digest
    for run in (sweep.run, *sweep.trials.values()):
        assert run.inputs is not None
        (logged,) = run.inputs.dataset_inputs
        assert logged.dataset.name == "digits"
        assert dataset.digest.startswith(f"sha256:{logged.dataset.digest}")
        assert run.data.tags["pipeline.data_digest"] == dataset.digest


def test_the_kept_weights_are_those_of_the_best_epoch(sweep: Sweep, dataset: Dataset, tmp_path: Path) -> None:
    validation = Split.of(dataset.validation, torch.device("cpu"))
    runtime = Runtime(precision=sweep.result["sweep"]["precision"])
    for index, run in sweep.trials.items():
        folder = sweep.artifact(run, "checkpoint", tmp_path / str(index))
        model, card = load_model(Folder(str(folder)))
        assert card.class_names == tuple(DIGITS)
        with safe_open(folder / "model.safetensors", "pt") as weights:
            assert weights.metadata() == {"epoch": f"{run.data.metrics['best/epoch']:g}"}
        correct = evaluate(model, validation, card.normalisation, runtime).correct
        # Sums in another order, by another number of threads, may turn an image that stands on the edge.
        assert correct == pytest.approx(run.data.metrics["best/val_accuracy"] * len(dataset.validation), abs=1.01)


def test_figures_are_images(sweep: Sweep, tmp_path: Path) -> None:
    measured = {sweep.result["winner"]["trial"], 0}
    for index, run in sweep.trials.items():
        folder = sweep.artifact(run, "figures", tmp_path / str(index))
        assert {path.name for path in folder.iterdir()} == FIGURES | (TEST_FIGURES if index in measured else set())
        for path in folder.iterdir():
            with Image.open(path) as image:
                assert np.asarray(image).std() > 1, path  # drawn on
    with Image.open(sweep.artifact(sweep.run, "leaderboard.png", tmp_path)) as image:
        assert min(image.size) > 100


def test_the_predictions_kept_give_the_recorded_accuracy(sweep: Sweep, dataset: Dataset, tmp_path: Path) -> None:
    winner = sweep.result["winner"]
    path = sweep.artifact(sweep.trials[winner["trial"]], "evaluation/test_predictions.csv", tmp_path)
    with path.open(newline="") as file:
        rows = [(int(row["label"]), int(row["predicted"])) for row in csv.DictReader(file)]
    assert [label for label, _ in rows] == dataset.test.labels.tolist()
    assert sum(label == predicted for label, predicted in rows) == winner["test_correct"]


def test_the_registered_model_answers_as_was_measured(sweep: Sweep, dataset: Dataset) -> None:
    registry, winner = sweep.result["registry"], sweep.result["winner"]
    assert sweep.aliases == {"challenger": registry["version"]}
    version = sweep.client.get_model_version("vit-digits", str(registry["version"]))
    assert version.run_id == sweep.trials[winner["trial"]].info.run_id
    assert version.tags["pipeline.test_correct"] == str(winner["test_correct"])
    mlflow.set_tracking_uri(f"sqlite:///{sweep.folder}/mlflow.db")
    model = mlflow.pyfunc.load_model(f"models:/vit-digits/{registry['version']}")
    named = np.array(model.predict(dataset.test.images)["class_name"].tolist())
    correct = int((named == np.array(DIGITS)[dataset.test.labels]).sum())
    assert abs(correct - winner["test_correct"]) <= 1


def test_the_baseline_is_the_published_configuration_at_full_length(sweep: Sweep) -> None:
    baseline, run = sweep.result["baseline"], sweep.trials[0]
    assert baseline["trial"] == 0
    assert (run.info.status, run.data.tags["pipeline.baseline"]) == ("FINISHED", "published")
    assert len(sweep.history(0, "val/accuracy")) == EPOCHS
    assert baseline["val_accuracy"] == max(sweep.history(0, "val/accuracy"))
    published = {"patch_size": "4", "depth": "6", "num_heads": "3", "embed_dim": "192", "learning_rate": "0.001"}
    assert published.items() <= run.data.params.items()
    assert not any("pipeline.baseline" in run.data.tags for index, run in sweep.trials.items() if index)


def test_the_leaderboard_follows_from_the_metrics(sweep: Sweep) -> None:
    expected = []
    for index, run in sweep.trials.items():
        pairs = zip(sweep.history(index, "val/accuracy"), sweep.history(index, "val/loss"), strict=True)
        accuracy, loss = max(pairs, key=lambda pair: pair[0])
        expected.append((-accuracy, loss, int(run.data.params["num_parameters"]), index))
    expected.sort()
    rows = sweep.result["leaderboard"]
    assert [(-row["val_accuracy"], row["val_loss"], row["num_parameters"], row["trial"]) for row in rows] == expected
    assert [row["rank"] for row in rows] == list(range(1, TRIALS + 1))
    assert [row["run_id"] for row in rows] == [sweep.trials[row["trial"]].info.run_id for row in rows]
    assert sweep.result["winner"]["trial"] == rows[0]["trial"]
    assert sweep.result["winner"]["val_accuracy"] == rows[0]["val_accuracy"]
    assert sweep.run.data.tags["pipeline.winner"] == str(rows[0]["trial"])


def test_asha_share_and_gain_add_up(sweep: Sweep) -> None:
    asha, result = sweep.result["asha"], sweep.result
    epochs = sum(len(sweep.history(index, "val/accuracy")) for index in sweep.trials)
    assert (asha["epochs"], asha["full_grid_epochs"]) == (epochs, TRIALS * EPOCHS)
    assert asha["share"] == sweep.run.data.metrics["epochs_share"] == epochs / (TRIALS * EPOCHS)
    assert asha["rungs"] == [1, 3, EPOCHS]
    assert {len(sweep.history(index, "val/accuracy")) for index in sweep.trials} <= set(asha["rungs"])
    for name in ("val_accuracy", "test_accuracy"):
        assert result["gain"][name] == result["winner"][name] - result["baseline"][name]
        assert sweep.run.data.metrics[f"gain/{name}"] == pytest.approx(result["gain"][name])


def test_the_sweeps_run_holds_the_result(sweep: Sweep, tmp_path: Path) -> None:
    summary = json.loads(sweep.artifact(sweep.run, "summary.json", tmp_path).read_text())
    stages = sweep.result["seconds"]["stages"]
    assert stages.keys() - summary["seconds"]["stages"].keys() == {"report"}  # it was not over yet
    summary["seconds"]["stages"]["report"] = stages["report"]
    assert summary == sweep.result
    with sweep.artifact(sweep.run, "leaderboard.csv", tmp_path).open(newline="") as file:
        trials = [int(row["trial"]) for row in csv.DictReader(file)]
    assert trials == [row["trial"] for row in sweep.result["leaderboard"]]
    assert sweep.run.data.params["trials"] == str(TRIALS)
    assert sweep.run.data.tags["pipeline.command"].startswith("python -m pipeline.sweep --dataset digits")


def test_the_output_tells_the_result_and_nothing_else(sweep: Sweep) -> None:
    assert sweep.stderr == ""
    assert all(character.isprintable() or character == "\n" for character in sweep.stdout)
    assert not re.search(r"WARNING|Traceback|Error|\d{4}-\d\d-\d\d \d\d:", sweep.stdout)
    winner, baseline, gain = sweep.result["winner"], sweep.result["baseline"], sweep.result["gain"]
    lines = sweep.stdout.splitlines()
    assert lines[0].startswith("prepare: digits from scikit-learn digits: 1151 train, 287 validation, 359 test images")
    assert lines[1].startswith(f"search: {TRIALS} trials of space small, at most {EPOCHS} epochs, rungs [1, 3]")
    progress = [line for line in lines if "trials ended" in line]
    assert progress[-1].startswith(f"{TRIALS}/{TRIALS} trials ended (") and progress[-1].endswith("elapsed, done")
    assert all(re.search(r"elapsed, (about .* left|expected .*|done)$", line) for line in progress)  # none is wrapped
    title = next(place for place, line in enumerate(lines) if "leaderboard: best 6 of 6 trials" in line)
    shown = [int(line.split()[1]) for line in lines[title + 2 : title + 2 + TRIALS]]
    assert shown == [row["trial"] for row in sweep.result["leaderboard"]]
    images = sweep.result["dataset"]["test_images"]
    for line in (
        f"winner: trial {winner['trial']}, validation {winner['val_accuracy']:.2%}, "
        f"test {winner['test_accuracy']:.2%} ({winner['test_correct']} of {images})",
        "registry: vit-digits version 1 is the challenger; there is no champion yet",
        "view the runs:   python -m pipeline.ui",
        "promote:         python -m pipeline.promote --model vit-digits",
    ):
        assert line in lines
    if winner["trial"] != 0:
        assert (
            f"published configuration: validation {baseline['val_accuracy']:.2%}, "
            f"test {baseline['test_accuracy']:.2%}; gain {gain['val_accuracy']:+.2%} and {gain['test_accuracy']:+.2%}"
        ) in lines


def test_nothing_is_left_behind(sweep: Sweep) -> None:
    folder = Path(sweep.result["sweep"]["folder"])
    assert re.fullmatch(rf"{sweep.folder}/sweeps/sweep-digits-[0-9a-f]{{8}}", str(folder))
    assert {path.name for path in folder.iterdir()} == {".lock", "session.json", "summary.json", "trials"}
    trials = folder / "trials"
    assert sorted(path.name for path in trials.iterdir()) == [f"{index:05d}" for index in range(TRIALS)]
    kept = {"config.json", "history.json", "model.safetensors", "trial.json"}
    assert all({path.name for path in folder.iterdir()} == kept for folder in trials.iterdir())
    assert not list(sweep.temporary.glob("vit-artifacts-*"))
    left = {path.name for path in sweep.folder.iterdir()}
    assert left == {"mlflow.db", "mlartifacts", "sweeps", "result.json", "temporary"}


def test_the_printed_command_promotes_once(sweep: Sweep, promotions: list[subprocess.CompletedProcess[str]]) -> None:
    first, second = promotions
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("vit-digits version 1 is the champion: first champion")
    assert (second.returncode, second.stdout) == (3, "")
    assert second.stderr == (
        "error: vit-digits has no challenger to promote (version 1 is the champion): run a sweep to get one\n"
    )
    assert sweep.client.get_registered_model("vit-digits").aliases == {"champion": 1}
