"""Reads what a sweep left behind: its trials' files in its folder, and its runs in MLflow."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.trials.folder import TrialHistory, TrialLedger
from tests.integration.commands import client_of, runs_of
from vit.files.storage import Folder

SEARCH_STAGES = ("prepare", "search")
"""The stages of a sweep with `--until search`."""
KEPT = ("config.json", "confusion.npy", "history.json", "model.safetensors", "trial.json")


def trial_path(storage: Path, trial: int) -> Path:
    """Returns the folder of a trial of the only sweep below `storage`; the folder may not exist yet."""
    sweep = next((path for path in storage.glob("sweep-*")), storage / "none")
    return sweep / "trials" / f"{trial:05d}"


def ledger_of(storage: Path, trial: int) -> TrialLedger | None:
    return TrialLedger.read(Folder(str(trial_path(storage, trial))))


def history_of(storage: Path, trial: int) -> TrialHistory:
    return TrialHistory.read(Folder(str(trial_path(storage, trial))))


def epochs_of(storage: Path, trial: int) -> int:
    """Returns how many epochs a trial has trained."""
    return len(history_of(storage, trial).epochs)


def ended_trials(storage: Path) -> set[int]:
    trials = {int(path.name) for path in storage.glob("sweep-*/trials/*")}
    return {trial for trial in trials if (ledger := ledger_of(storage, trial)) and ledger.outcome}


def stamps(storage: Path, trials: set[int]) -> dict[Path, tuple[int, int]]:
    """Returns the inode and the modification time of each file kept of the trials; a file rewritten gets new ones."""
    paths = (trial_path(storage, trial) / name for trial in trials for name in KEPT)
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def ends(runs: list[Run]) -> dict[str, int]:
    """Returns the end time of each run that has ended, by the id of the run."""
    return {run.info.run_id: run.info.end_time for run in runs if run.info.status != "RUNNING"}


def summary(folder: Path, name: str = "result.json") -> dict[str, Any]:
    """Returns the summary that a sweep in `folder` wrote for `--json`."""
    read: dict[str, Any] = json.loads((folder / name).read_text())
    return read


def results(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a summary that is the same when the same sweep runs in another folder."""
    elsewhere = ("run_id", "training_seconds")
    rows = [{name: value for name, value in row.items() if name not in elsewhere} for row in result["leaderboard"]]
    return {"leaderboard": rows, "dataset": result["dataset"], "asha": result["asha"]}


def assert_recorded_once(where: str | Path, storage: Path, stages: Sequence[str] = SEARCH_STAGES) -> None:
    """Checks that the sweep, each stage and each trial have one run, which has ended, with each epoch recorded once."""
    runs, client = runs_of(where), client_of(where)
    trials = {path.name for path in storage.glob("sweep-*/trials/*")}
    expected = ["sweep", *stages, *(f"trial {int(name)}" for name in trials)]
    assert Counter(_what(run) for run in runs) == Counter(expected)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}
    assert {run.info.status for run in runs if run.data.tags["pipeline.kind"] != "trial"} == {"FINISHED"}
    for run in runs:
        if run.data.tags["pipeline.kind"] == "trial":
            assert_curves(client, run, history_of(storage, int(run.data.tags["pipeline.trial"])))


def _what(run: Run) -> str:
    tags = run.data.tags
    return f"trial {tags['pipeline.trial']}" if "pipeline.trial" in tags else tags.get("pipeline.stage", "sweep")


def assert_curves(client: MlflowClient, run: Run, history: TrialHistory) -> None:
    """Checks that the run holds each epoch once, as in the trial's folder."""
    epochs = history.epochs
    assert [entry["epoch"] for entry in epochs] == list(range(1, len(epochs) + 1))
    for name in run.data.metrics:
        recorded = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        if name in ("images_per_second", "epoch_seconds"):  # if an epoch was trained twice, these are of the first time
            assert [step for step, _ in recorded] == [entry["epoch"] for entry in epochs], (run.info.run_name, name)
        elif epochs and name in epochs[0]["metrics"]:
            assert recorded == [(entry["epoch"], entry["metrics"][name]) for entry in epochs], (run.info.run_name, name)
        else:  # metrics of the best epoch so far, or of the test images
            steps = [step for step, _ in recorded]
            assert steps == sorted(set(steps)), (run.info.run_name, name, recorded)
