"""Tests a sweep whose checkpoints are in an S3 bucket: it is killed and resumed, and leaves no checkpoint locally."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.trials.folder import TrialHistory, trial_folder
from tests.integration.commands import run_to_end, start, trial_runs_of, wait_until

pytestmark = pytest.mark.slow

TRIALS = 2


def test_a_killed_sweep_goes_on_from_the_bucket(s3_bucket: str, tmp_path: Path) -> None:
    command = ["--dataset", "digits", "--trials", str(TRIALS), "--max-epochs", "5", "--grace-epochs", "5"]
    command += ["--train-limit", "300", "--precision", "fp32", "--max-concurrent", "1"]
    command += ["--storage", f"{s3_bucket}/here", "--json", "result.json", "--until", "search"]
    with start("pipeline.sweep", tmp_path, *command) as driver:
        wait_until(lambda: sum(map(len, _epochs_in(s3_bucket))) >= 3, driver)
        driver.kill()
        driver.wait()
    before = _epochs_in(s3_bucket)
    assert sum(map(len, before)) < TRIALS * 5
    done = run_to_end("pipeline.sweep", tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["epochs_run"] for row in result["leaderboard"]] == [5, 5]
    for kept, whole in zip(before, _epochs_in(s3_bucket), strict=True):
        saved = kept[:-1]  # the state of the last one may not have been written
        assert whole[: len(saved)] == saved  # trained again, they would have taken other times
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlartifacts", "result.json"}
    assert [run.info.status for run in trial_runs_of(tmp_path)] == ["FINISHED"] * TRIALS
    for index in range(TRIALS):
        folder = trial_folder(f"{_sweep_folder(s3_bucket)}/trials", index)
        assert folder.exists("model.safetensors") and not folder.exists("latest.pt")


def _sweep_folder(bucket: str) -> str | None:
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(f"{bucket}/here")
    filesystem.invalidate_cache()
    found = filesystem.glob(f"{path}/sweep-digits-*")
    return f"s3://{found[0]}" if found else None


def _epochs_in(bucket: str) -> list[tuple[Any, ...]]:
    """Returns the epochs so far of each trial."""
    folder = _sweep_folder(bucket)
    if folder is None:
        return [()] * TRIALS
    return [tuple(TrialHistory.read(trial_folder(f"{folder}/trials", index)).epochs) for index in range(TRIALS)]
