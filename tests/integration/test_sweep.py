"""Tests of one real sweep, run as a user runs it and read back from MLflow, the registry and the output."""

import csv
import json
import math
import re
import shlex
import sqlite3
import subprocess
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from pipeline.page.mistakes import Mistakes
from pipeline.page.page import SECTIONS
from pipeline.planning.footprint import mlflow_rows
from pipeline.planning.sweep_plan import SweepPlan
from pipeline.trials.rungs import Rungs
from tests.html_page import HtmlPage
from tests.integration.commands import answers, free_port, run_here, start, wait_until
from tests.integration.finished_sweep import EPOCHS, SEED, SEEDS, SWEEP, TRAIN_IMAGES, TRIALS, Sweep, run_sweep
from tests.integration.readme import commands_of
from tune_spaces.catalogue import SPACES
from tune_spaces.space import draw_trials
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.files.checkpoint import load_model
from vit.files.storage import Folder
from vit.training.evaluation import evaluate
from vit.training.runtime import Runtime, Split

pytestmark = pytest.mark.slow

DIGITS = [str(digit) for digit in range(10)]
STAGES = ["prepare", "search", "baseline", "audit", "confirm", "evaluate", "register", "report"]
EPOCH_METRICS = {
    "train/loss", "train/accuracy", "val/loss", "val/accuracy", "learning_rate", "images_per_second", "epoch_seconds",
    *(f"val/class_accuracy/{digit}" for digit in DIGITS),
}  # fmt: skip
TEST_METRICS = {"test/loss", "test/accuracy", *(f"test/class_accuracy/{digit}" for digit in DIGITS)}
BEST_METRICS = {"best/epoch", "best/val_accuracy", "best/val_loss"}
FIGURES = {"curves.png", "class_accuracy.png", "confusion_matrix.png"}
SWEEP_FIGURES = {"leaderboard.png", "ladder.png", "class_accuracy.png", "confusion_matrix.png"}
TEST_FIGURES = {"test_class_accuracy.png", "test_confusion_matrix.png"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return run_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def promotions(sweep: Sweep) -> list[subprocess.CompletedProcess[str]]:
    """The results of the README's promote command, and of the one that the sweep printed, run after it."""
    line = next(line for line in sweep.stdout.splitlines() if line.startswith("promote:"))
    python, flag, module, *arguments = shlex.split(line.removeprefix("promote:"))
    assert (python, flag) == ("python", "-m")
    return [
        run_here(module, sweep.folder, *words)
        for module, *words in (commands_of("pipeline.promote")[0], [module, *arguments])
    ]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DataConfig("digits", train_limit=TRAIN_IMAGES))


def test_one_sweep_run_and_its_stages(sweep: Sweep) -> None:
    experiment = sweep.client.get_experiment(sweep.run.info.experiment_id)
    assert experiment.name == "vit-digits"
    runs = sweep.client.search_runs([experiment.experiment_id], "tags.`pipeline.kind` = 'sweep'")
    assert [run.info.run_id for run in runs if run.info.start_time <= sweep.run.info.start_time] == [
        sweep.run.info.run_id
    ]
    assert sweep.run.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in sweep.run.data.tags
    stages = sweep.of_kind("stage")
    assert sorted(run.data.tags["pipeline.stage"] for run in stages) == sorted(STAGES)
    assert {run.info.status for run in stages} == {"FINISHED"}
    assert all(run.data.metrics["seconds"] >= 0 for run in stages)
    assert all(re.fullmatch("[0-9a-f]{16}", run.data.tags["pipeline.fingerprint"]) for run in stages)
    assert len(sweep.children) == len(STAGES) + TRIALS + len(sweep.finalists) + len(sweep.of_kind("audit"))


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
    assert sorted(sweep.trials) == list(range(TRIALS))
    for index, run in sweep.trials.items():
        assert run.data.metrics.keys() == EPOCH_METRICS | BEST_METRICS
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


def test_the_trainings_wrote_as_many_rows_as_a_plan_estimates(sweep: Sweep, dataset: Dataset) -> None:
    trainings = [run for run in sweep.children if run.data.tags["pipeline.kind"] != "stage"]
    with sqlite3.connect(sweep.folder / "mlflow.db") as database:
        rows = [
            database.execute(f"select count(*) from {table} where run_uuid = ?", [run.info.run_id]).fetchone()[0]
            for table in ("runs", "metrics", "params", "tags")
            for run in trainings
        ]
    plan = SweepPlan(
        tuple(draw_trials(SPACES["small"], dataset.shape, TRIALS, EPOCHS, SEED)), Rungs(1, 3, EPOCHS), concurrent=2,
        final_concurrent=2, train_images=TRAIN_IMAGES, validation_images=100, test_images=359, finalists=1, seeds=SEEDS,
        audited=len(sweep.of_kind("audit")),
    )  # fmt: skip
    epochs = sum(len(sweep.history(trial, "val/accuracy")) for trial in range(TRIALS))
    assert sum(rows) == pytest.approx(mlflow_rows(plan, epochs, len(DIGITS)), rel=0.02)


def test_the_finalists_are_trained_anew_to_their_full_length(sweep: Sweep) -> None:
    published, *others = sorted(sweep.result["confirm"]["models"], key=lambda model: bool(model["trial"]))
    (finalist,) = others
    found = [row for row in sweep.result["leaderboard"] if row["trial"] != 0]
    assert (finalist["trial"], finalist["search_accuracy"]) == (found[0]["trial"], found[0]["val_accuracy"])
    assert published["search_accuracy"] == sweep.row_of(0)["val_accuracy"]
    assert {run.info.status for run in sweep.finalists.values()} == {"FINISHED"}
    assert sorted(run_id for model in (published, finalist) for run_id in model["run_ids"]) == sorted(sweep.finalists)
    for model in (published, finalist):
        runs = [sweep.finalists[run_id] for run_id in model["run_ids"]]
        best = [max(sweep.curve(run, "val/accuracy")) for run in runs]
        assert [len(sweep.curve(run, "val/accuracy")) for run in runs] == [EPOCHS] * SEEDS
        assert model["val_accuracies"] == best == [run.data.metrics["best/val_accuracy"] for run in runs]
        assert model["val_mean"] == pytest.approx(sum(best) / SEEDS)
        assert model["val_spread"] == pytest.approx(abs(best[0] - best[1]) / math.sqrt(2))
        assert model["shrinkage"] == pytest.approx(model["search_accuracy"] - model["val_mean"])
        # The seeds differ from those of the search, and are the same for both models.
        seeds = [run.data.params["seed"] for run in runs]
        assert seeds == [sweep.finalists[run_id].data.params["seed"] for run_id in published["run_ids"]]
        assert sweep.trials[model["trial"]].data.params["seed"] not in seeds
        for name in ("patch_size", "depth", "learning_rate", "epochs"):
            assert {run.data.params[name] for run in runs} == {sweep.trials[model["trial"]].data.params[name]}
    means = [model["val_mean"] for model in sweep.result["confirm"]["models"]]
    assert means == sorted(means, reverse=True)
    assert sweep.result["winner"] == sweep.result["confirm"]["models"][0]
    assert sweep.result["baseline"] == published


def test_test_figures_stand_where_the_test_images_were_read(sweep: Sweep) -> None:
    measured = [run.info.run_id for run in sweep.children if "test/accuracy" in run.data.metrics]
    assert sorted(measured) == sorted(sweep.finalists)
    for model in sweep.result["confirm"]["models"]:
        tested = [sweep.finalists[run_id].data.metrics["test/accuracy"] for run_id in model["run_ids"]]
        assert model["test_accuracies"] == tested
        assert model["test_mean"] == pytest.approx(sum(tested) / SEEDS)
        assert all(sweep.finalists[run_id].data.metrics.keys() >= TEST_METRICS for run_id in model["run_ids"])
    assert sweep.run.data.metrics["test/accuracy"] == sweep.result["winner"]["test_mean"]
    assert sweep.run.data.metrics["best/val_accuracy"] == sweep.result["winner"]["val_mean"]
    opened = f"tags.`pipeline.test_opened` = '{sweep.result['dataset']['test_digest']}'"
    (stage,) = sweep.client.search_runs([sweep.run.info.experiment_id], opened)
    assert (stage.data.tags["pipeline.stage"], sweep.result["test_set_reads"]) == ("evaluate", 1)


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
        # With another number of threads, sums are rounded differently, which may change a borderline image's class.
        assert correct == pytest.approx(run.data.metrics["best/val_accuracy"] * len(dataset.validation), abs=1.01)


def test_figures_are_images(sweep: Sweep, tmp_path: Path) -> None:
    for run in (*sweep.trials.values(), *sweep.finalists.values()):
        folder = sweep.artifact(run, "figures", tmp_path / run.info.run_id)
        tested = TEST_FIGURES if run.info.run_id in sweep.finalists else set()
        assert {path.name for path in folder.iterdir()} == FIGURES | tested
        for path in folder.iterdir():
            with Image.open(path) as image:
                assert np.asarray(image).std() > 1, path  # it is not blank
    folder = sweep.artifact(sweep.run, "figures", tmp_path)
    assert {path.name for path in folder.iterdir()} == SWEEP_FIGURES
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert min(image.size) > 100 and np.asarray(image).std() > 1


def test_the_predictions_kept_give_the_recorded_accuracy(sweep: Sweep, dataset: Dataset, tmp_path: Path) -> None:
    for run_id, run in sweep.finalists.items():
        path = sweep.artifact(run, "evaluation/test_predictions.csv", tmp_path / run_id)
        with path.open(newline="") as file:
            rows = [(int(row["label"]), int(row["predicted"])) for row in csv.DictReader(file)]
        assert [label for label, _ in rows] == dataset.test.labels.tolist()
        correct = sum(label == predicted for label, predicted in rows)
        assert correct / len(rows) == run.data.metrics["test/accuracy"]
        if run_id == sweep.registered.info.run_id:
            assert correct == sweep.result["winner"]["test_correct"]


def test_the_registered_model_answers_as_was_measured(sweep: Sweep, dataset: Dataset) -> None:
    registry, winner = sweep.result["registry"], sweep.result["winner"]
    assert sweep.aliases == {"challenger": registry["version"]}
    version = sweep.client.get_model_version("vit-digits", str(registry["version"]))
    assert version.run_id == sweep.registered.info.run_id
    assert sweep.registered.data.metrics["best/val_accuracy"] == max(winner["val_accuracies"])
    assert version.tags["pipeline.test_correct"] == str(winner["test_correct"])
    mlflow.set_tracking_uri(f"sqlite:///{sweep.folder}/mlflow.db")
    model = mlflow.pyfunc.load_model(f"models:/vit-digits/{registry['version']}")
    named = np.array(model.predict(dataset.test.images)["class_name"].tolist())
    correct = int((named == np.array(DIGITS)[dataset.test.labels]).sum())
    assert abs(correct - winner["test_correct"]) <= 1


def test_trial_0_is_the_published_configuration_at_full_length(sweep: Sweep) -> None:
    run = sweep.trials[0]
    assert (run.info.status, run.data.tags["pipeline.baseline"]) == ("FINISHED", "published")
    assert len(sweep.history(0, "val/accuracy")) == EPOCHS
    published = {"patch_size": "4", "depth": "6", "num_heads": "3", "embed_dim": "192", "learning_rate": "0.001"}
    assert published.items() <= run.data.params.items()
    assert not any("pipeline.baseline" in run.data.tags for index, run in sweep.trials.items() if index)


def test_why_a_trial_stopped_stands_in_its_run_and_in_the_sweeps(sweep: Sweep, tmp_path: Path) -> None:
    with sweep.artifact(sweep.run, "decisions.csv", tmp_path).open(newline="") as file:
        table = list(csv.DictReader(file))
    recorded = {(int(row["trial"]), int(row["epoch"])): row for row in table}
    reached = {
        (index, rung) for index in sweep.trials for rung in (1, 3) if len(sweep.history(index, "val/loss")) >= rung
    }
    assert recorded.keys() == reached
    for index, run in sweep.trials.items():
        decisions = json.loads(run.data.tags["pipeline.decisions"])
        assert decisions == sweep.row_of(index)["decisions"]
        for decision in decisions:
            assert decision["accuracy"] == sweep.history(index, "val/accuracy")[decision["epoch"] - 1]
            below = decision["cutoff"] is not None and decision["accuracy"] < decision["cutoff"]
            assert decision["go_on"] == (index == 0 or not below)
            assert 1 <= decision["rank"] <= decision["of"] <= TRIALS
    stopped = next(index for index, run in sweep.trials.items() if run.info.status == "KILLED")
    why = sweep.follow(["pipeline.sweep", "--dataset", "digits", "--why", str(stopped)])
    assert (why.returncode, why.stderr) == (0, "")
    first, *rungs = why.stdout.splitlines()
    assert first == f"trial {stopped} of {sweep.result['sweep']['name']} was stopped by ASHA"
    assert len(rungs) == len(sweep.row_of(stopped)["decisions"])
    assert rungs[-1].endswith(": stopped")


def test_stopped_trials_are_audited(sweep: Sweep) -> None:
    audit = sweep.result["audit"]
    stopped = {index for index, run in sweep.trials.items() if run.info.status == "KILLED"}
    runs = {int(run.data.tags["pipeline.trial"]): run for run in sweep.of_kind("audit")}
    assert runs.keys() == {trial["index"] for trial in audit["audited"]} <= stopped
    assert len(runs) == min(2, len(stopped))
    for trial in audit["audited"]:
        curve = sweep.curve(runs[trial["index"]], "val/accuracy")
        assert (len(curve), max(curve)) == (EPOCHS, trial["full_accuracy"])
        # It is the same training, so its curve begins as the curve in the search did.
        seen = sweep.history(trial["index"], "val/accuracy")
        assert curve[: len(seen)] == pytest.approx(seen, abs=0.05)
    assert [rung["epoch"] for rung in audit["rungs"]] == [1, 3]


def test_the_report_is_a_page_with_all_of_it(sweep: Sweep, tmp_path: Path) -> None:
    page = HtmlPage(sweep.artifact(sweep.run, "report.html", tmp_path).read_text(encoding="utf-8"))
    assert page.sections == [anchor for anchor, _, _ in SECTIONS]
    assert "Left out" not in page.text
    for line in sweep.result["lines"]:
        assert line in page.text
    curves = page.charts["curves-chart-2"]["datasets"]
    assert max(len(rows) for rows in curves.values()) == sweep.result["asha"]["epochs"]
    mistakes = Mistakes.read(sweep.artifact(sweep.run, "mistakes.npz", tmp_path))
    wrong = sweep.result["dataset"]["test_images"] - sweep.result["winner"]["test_correct"]
    assert (len(mistakes), len(page.values("src", "img"))) == (min(wrong, 12), 2 * min(wrong, 12))
    stages = {stage["name"]: stage for stage in sweep.result["stages"]}
    assert set(stages) == set(STAGES)
    assert all(stage["outcome"] == "run" and stage["reason"].startswith("run, because") for stage in stages.values())


def test_the_same_page_is_made_anew_of_mlflow_alone(sweep: Sweep, tmp_path: Path) -> None:
    away = sweep.folder / "away"
    (sweep.folder / "sweeps").rename(away)
    try:
        store = f"sqlite:///{sweep.folder}/mlflow.db"
        name = sweep.result["sweep"]["name"]
        made = run_here("pipeline.report.__main__", tmp_path, name, "--tracking-uri", store, "--json", "made.json")
    finally:
        away.rename(sweep.folder / "sweeps")
    assert (made.returncode, made.stderr) == (0, "")
    page = tmp_path / f"{name}.html"
    assert page.read_bytes() == sweep.artifact(sweep.run, "report.html", tmp_path / "recorded").read_bytes()
    told = json.loads((tmp_path / "made.json").read_text())
    assert told == {"sweep": name, "run_id": sweep.run.info.run_id, "page": str(page), "left_out": {}}


def test_the_sweeps_description_tells_its_result(sweep: Sweep) -> None:
    note = sweep.run.data.tags["mlflow.note.content"]
    winner = sweep.result["winner"]
    assert f"{winner['test_mean']:.2%} of the test images right (mean of {SEEDS} seeds)" in note.splitlines()[0]
    assert "95% interval" in note
    assert f"| 1 | {sweep.result['leaderboard'][0]['trial']} |" in note
    assert "python -m pipeline.promote --model vit-digits" in note


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


def test_asha_share_and_gain_add_up(sweep: Sweep) -> None:
    asha, result = sweep.result["asha"], sweep.result
    epochs = sum(len(sweep.history(index, "val/accuracy")) for index in sweep.trials)
    assert (asha["epochs"], asha["full_grid_epochs"]) == (epochs, TRIALS * EPOCHS)
    assert asha["share"] == sweep.run.data.metrics["epochs_share"] == epochs / (TRIALS * EPOCHS)
    assert asha["rungs"] == [1, 3, EPOCHS]
    assert {len(sweep.history(index, "val/accuracy")) for index in sweep.trials} <= set(asha["rungs"])
    for name, split in (("val_accuracy", "val"), ("test_accuracy", "test")):
        assert result["gain"][name] == result["winner"][f"{split}_mean"] - result["baseline"][f"{split}_mean"]
        assert sweep.run.data.metrics[f"gain/{name}"] == pytest.approx(result["gain"][name])


def test_the_sweeps_run_holds_the_result(sweep: Sweep, tmp_path: Path) -> None:
    summary = json.loads(sweep.artifact(sweep.run, "summary.json", tmp_path).read_text())
    assert summary == sweep.result
    assert sweep.run.data.tags["pipeline.winner"] == str(sweep.result["winner"]["trial"])
    with sweep.artifact(sweep.run, "leaderboard.csv", tmp_path).open(newline="") as file:
        trials = [int(row["trial"]) for row in csv.DictReader(file)]
    assert trials == [row["trial"] for row in sweep.result["leaderboard"]]
    assert sweep.run.data.params["trials"] == str(TRIALS)
    assert sweep.run.data.tags["pipeline.command"].startswith(f"python -m {shlex.join(SWEEP)}")


def test_the_output_tells_the_result_and_nothing_else(sweep: Sweep) -> None:
    assert sweep.stderr == ""
    assert all(character.isprintable() or character == "\n" for character in sweep.stdout)
    assert not re.search(r"WARNING|Traceback|Error|\d{4}-\d\d-\d\d \d\d:", sweep.stdout)
    lines = sweep.stdout.splitlines()
    assert "prepare: run, because it has not finished before" in lines
    size = f"digits from scikit-learn digits: {TRAIN_IMAGES} train, 100 validation, 359 test images"
    assert any(line.startswith(f"prepare: {size}") for line in lines)
    begun = f"search: {TRIALS} trials of space small, at most {EPOCHS} epochs, rungs [1, 3]"
    assert any(line.startswith(begun) for line in lines)
    progress = [line for line in lines if "trials ended" in line]
    searched = next(line for line in progress if line.startswith(f"{TRIALS}/{TRIALS} trials ended ("))
    assert searched.endswith("elapsed, done")
    assert all(re.search(r"elapsed, (about .* left|expected .*|done)$", line) for line in progress)  # none is wrapped
    title = next(number for number, line in enumerate(lines) if "leaderboard: best 6 of 6 trials" in line)
    shown = [int(line.split()[1]) for line in lines[title + 2 : title + 2 + TRIALS]]
    assert shown == [row["trial"] for row in sweep.result["leaderboard"]]
    end = lines[title + 2 + TRIALS :]
    assert end[: len(sweep.result["lines"])] == sweep.result["lines"]
    assert end[len(sweep.result["lines"]) :] == [
        "view the runs:   python -m pipeline.ui",
        "promote:         python -m pipeline.promote --model vit-digits",
    ]
    winner, images = sweep.result["winner"], sweep.result["dataset"]["test_images"]
    assert end[0].endswith(
        f"validation {winner['val_mean']:.2%} ± {100 * winner['val_spread']:.2f}, "
        f"test {winner['test_mean']:.2%} ± {100 * winner['test_spread']:.2f}"
    )
    registered = f"seed {winner['best_seed']}, test {winner['test_correct']} of {images}"
    assert f"registry: vit-digits version 1 is the challenger ({registered}); there is no champion yet" in end


def test_nothing_is_left_behind(sweep: Sweep) -> None:
    folder = Path(sweep.result["sweep"]["folder"])
    assert re.fullmatch(rf"{sweep.folder}/sweeps/sweep-digits-[0-9a-f]{{8}}", str(folder))
    assert {path.name for path in folder.iterdir()} == {".lock", "session.json", "trials", "finalists", "audit"}
    trials = folder / "trials"
    assert sorted(path.name for path in trials.iterdir()) == [f"{index:05d}" for index in range(TRIALS)]
    kept = {"config.json", "confusion.npy", "history.json", "model.safetensors", "trial.json"}
    for trained in (*trials.iterdir(), *(folder / "audit").iterdir(), *folder.glob("finalists/*/*")):
        assert {path.name for path in trained.iterdir()} == kept, trained
    assert not list(sweep.temporary.glob("vit-artifacts-*"))
    left = {path.name for path in sweep.folder.iterdir()}
    assert left == {"mlflow.db", "mlartifacts", "sweeps", "result.json", "temporary"}


def test_the_commands_promote_once(sweep: Sweep, promotions: list[subprocess.CompletedProcess[str]]) -> None:
    first, second = promotions
    assert (first.returncode, first.stderr) == (0, "")
    assert "vit-digits version 1 is the champion (promoted): first champion, accuracy" in first.stdout
    assert (second.returncode, second.stdout) == (3, "")
    assert second.stderr == (
        "error: vit-digits has no challenger to promote (version 1 is the champion): run a sweep to get one\n"
    )
    assert sweep.client.get_registered_model("vit-digits").aliases == {"champion": 1}


def test_the_readmes_commands_look_back_on_it(sweep: Sweep, promotions: list[subprocess.CompletedProcess[str]]) -> None:
    history, rollback = (
        next(words for words in commands_of("pipeline.promote") if flag in words)
        for flag in ("--history", "--rollback")
    )
    assert "000001" in sweep.follow(history).stdout
    refused = sweep.follow(rollback)  # there was no champion before the only promotion
    assert (refused.returncode, "no previous champion to go back to" in refused.stderr) == (2, True)
    # The Rays of other tests on this machine count as a finding, and may be about to end.
    (doctor,) = commands_of("pipeline.doctor")
    checked = sweep.follow(doctor, env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert (checked.returncode in (0, 1), checked.stderr) == (True, "")
    assert re.search(r"^(nothing was|\d+) found", checked.stdout.splitlines()[-1])


def test_a_finished_sweep_given_again_tells_the_registry_as_it_is_now(
    sweep: Sweep, promotions: list[subprocess.CompletedProcess[str]]
) -> None:
    assert "; there is no champion yet" in sweep.stdout
    again = sweep.follow(SWEEP)
    assert (again.returncode, again.stderr) == (0, "")
    (line,) = [line for line in again.stdout.splitlines() if line.startswith("registry: ")]
    winner, images = sweep.result["winner"], sweep.result["dataset"]["test_images"]
    registered = f"seed {winner['best_seed']}, test {winner['test_correct']} of {images}"
    assert line == f"registry: vit-digits version 1 is the champion ({registered})"


def test_the_readmes_plan_says_that_nothing_is_left_to_run(sweep: Sweep) -> None:
    plan = next(words for words in commands_of("pipeline.sweep") if "--plan" in words)
    planned = sweep.follow([*plan, *SWEEP[1:]])
    assert (planned.returncode, planned.stderr) == (0, "")
    *stages, last = planned.stdout.splitlines()
    assert all("cached from run" in line for line in stages), planned.stdout
    assert sorted(line.split()[0] for line in stages) == sorted(STAGES)
    assert last == "nothing is left to run"


def test_the_readmes_ui_shows_its_page(sweep: Sweep) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    ((module, *arguments),) = commands_of("pipeline.ui")
    with start(module, sweep.folder, *arguments, "--port", str(port)) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == f"MLflow UI: {address} (Ctrl-C ends it)\n"
        wait_until(lambda: answers(address), server)
        with urllib.request.urlopen(address, timeout=30) as page:
            assert "<title>MLflow</title>" in page.read().decode()
        server.terminate()
        server.wait(30)
