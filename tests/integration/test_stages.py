"""Stages that have finished are not run again: after a kill, for other flags, from another place, and not on faith."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow.entities import Run

from tests.integration.commands import client_of, run_to_end, runs_of, start, trial_runs_of, wait_until
from tests.integration.sweeps import ends, stamps, summary

pytestmark = pytest.mark.slow

SWEEP = (
    "--dataset", "digits", "--train-limit", "300", "--seed", "1", "--trials", "3", "--max-epochs", "2", "--precision",
    "fp32", "--finalists", "1", "--seeds", "1", "--json", "result.json",
)  # fmt: skip
STAGES = ["prepare", "search", "baseline", "confirm", "evaluate", "register", "report"]


def test_a_sweep_from_its_kill_in_confirm_to_another_place(tmp_path: Path) -> None:
    with start("pipeline.sweep", tmp_path, *SWEEP) as process:
        wait_until(lambda: list(tmp_path.glob("sweeps/*/finalists/0/0000[1-9]/trial.json")), process)
        wait_until(lambda: any(run.info.run_name == "confirm" for run in runs_of(tmp_path)), process)  # all before too
        process.kill()
    trials, files = ends(trial_runs_of(tmp_path)), stamps(tmp_path / "sweeps", {0, 1, 2})
    assert len(trials) == 3

    told = _run(tmp_path)
    assert [stage for stage, line in told.items() if line.startswith("cached")] == ["prepare", "search", "baseline"]
    assert told["confirm"] == "run, because it has not finished before"
    assert told["report"] == "run, because confirm runs"
    assert ends(trial_runs_of(tmp_path)) == trials
    assert stamps(tmp_path / "sweeps", {0, 1, 2}) == files
    runs = runs_of(tmp_path)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    assert len(runs) == 1 + len(STAGES) + 3 + 2  # the sweep, its stages, trials, finalists
    outcomes = {stage["name"]: stage["outcome"] for stage in summary(tmp_path)["stages"]}
    assert outcomes == {name: "cached" if told[name].startswith("cached") else "run" for name in STAGES}

    before, result = ends(runs_of(tmp_path)), summary(tmp_path)
    assert all(line.startswith("cached") for line in _run(tmp_path).values())
    assert (ends(runs_of(tmp_path)), summary(tmp_path)) == (before, result)

    _a_file_that_is_gone_is_missed(tmp_path, result["winner"]["run_ids"][0])
    _what_is_out_of_reach_is_fetched(tmp_path, [model["test_accuracies"] for model in result["confirm"]["models"]])


def _a_file_that_is_gone_is_missed(folder: Path, run_id: str) -> None:
    weights = _artifact(client_of(folder).get_run(run_id), "checkpoint/model.safetensors")
    content = weights.read_bytes()
    weights.unlink()
    stage = "baseline" if "published" in client_of(folder).get_run(run_id).info.run_name else "confirm"
    told = _run(folder, "--until", "confirm")
    assert told[stage] == f"run, because checkpoint/model.safetensors of run {run_id[:8]} is gone"
    assert told["search"].startswith("cached")
    assert weights.read_bytes() == content  # from the folder, where it still stood


def _what_is_out_of_reach_is_fetched(folder: Path, scores: list[list[float]]) -> None:
    """As on another machine with the same tracking store: none of the sweep's folders is there."""
    (folder / "sweeps").rename(folder / "elsewhere")
    told = _run(folder, "--from", "evaluate")
    assert all(told[stage].startswith("cached") for stage in STAGES[:4])
    assert told["evaluate"] == "run, because --from evaluate says so"
    again = summary(folder)
    assert again["test_openings"] == 2
    assert len(trial_runs_of(folder)) == 3
    assert list((folder / "sweeps").glob("*/fetched/*/model.safetensors"))
    assert [model["test_accuracies"] for model in again["confirm"]["models"]] == scores


def _run(folder: Path, *more: str) -> dict[str, str]:
    """Runs the sweep to its end; gives what it says of each stage beforehand."""
    done = run_to_end("pipeline.sweep", folder, *SWEEP, *more)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    lines = re.findall(r"^(\w+): ((?:run, because|cached from run) .*)$", done.stdout, re.MULTILINE)
    return dict(lines)


def _artifact(run: Run, path: str) -> Path:
    return Path(urlsplit(run.info.artifact_uri).path) / path
