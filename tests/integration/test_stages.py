"""Stages that have finished are not run again: after a kill, for other flags, from another place, and not on faith."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import mlflow.entities
import pytest
from ray.cluster_utils import Cluster

from tests.integration.commands import client_of, run_to_end, runs_of, start, trial_runs_of, wait_until
from tests.integration.sweeps import ends, stamps, summary

pytestmark = pytest.mark.slow

Run = Callable[..., dict[str, str]]

SWEEP = (
    "--dataset", "digits", "--train-limit", "300", "--seed", "1", "--trials", "3", "--max-epochs", "2", "--precision",
    "fp32", "--finalists", "1", "--seeds", "1", "--json", "result.json",
)  # fmt: skip
STAGES = ["prepare", "search", "baseline", "confirm", "evaluate", "register", "report"]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs the sweep to its end on a Ray that stays; gives what it says of each stage beforehand."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})

    def run(folder: Path, *more: str) -> dict[str, str]:
        done = run_to_end("pipeline.sweep", folder, *SWEEP, *more, "--address", cluster.address)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return dict(re.findall(r"^(\w+): ((?:run, because|cached from run) .*)$", done.stdout, re.MULTILINE))

    try:
        yield run
    finally:
        cluster.shutdown()


def test_a_sweep_from_its_kill_in_confirm_to_another_place(run: Run, tmp_path: Path) -> None:
    with start("pipeline.sweep", tmp_path, *SWEEP) as process:
        wait_until(lambda: list(tmp_path.glob("sweeps/*/finalists/0/0000[1-9]/trial.json")), process)
        wait_until(
            lambda: any(each.info.run_name == "confirm" for each in runs_of(tmp_path)), process
        )  # all before too
        process.kill()
    trials, files = ends(trial_runs_of(tmp_path)), stamps(tmp_path / "sweeps", {0, 1, 2})
    assert len(trials) == 3

    told = run(tmp_path)
    assert [stage for stage, line in told.items() if line.startswith("cached")] == ["prepare", "search", "baseline"]
    assert told["confirm"] == "run, because it has not finished before"
    assert told["report"] == "run, because confirm runs"
    assert ends(trial_runs_of(tmp_path)) == trials
    assert stamps(tmp_path / "sweeps", {0, 1, 2}) == files
    runs = runs_of(tmp_path)
    assert {each.info.status for each in runs} <= {"FINISHED", "KILLED"}
    assert len(runs) == 1 + len(STAGES) + 3 + 2  # the sweep, its stages, trials, finalists
    outcomes = {stage["name"]: stage["outcome"] for stage in summary(tmp_path)["stages"]}
    assert outcomes == {name: "cached" if told[name].startswith("cached") else "run" for name in STAGES}

    before, result = ends(runs_of(tmp_path)), summary(tmp_path)
    assert all(line.startswith("cached") for line in run(tmp_path).values())
    assert (ends(runs_of(tmp_path)), summary(tmp_path)) == (before, result)

    _a_file_that_is_gone_is_missed(run, tmp_path, result["winner"]["run_ids"][0])
    _what_is_out_of_reach_is_fetched(run, tmp_path, [model["test_accuracies"] for model in result["confirm"]["models"]])


def _a_file_that_is_gone_is_missed(run: Run, folder: Path, run_id: str) -> None:
    weights = _artifact(client_of(folder).get_run(run_id), "checkpoint/model.safetensors")
    content = weights.read_bytes()
    weights.unlink()
    stage = "baseline" if "published" in client_of(folder).get_run(run_id).info.run_name else "confirm"
    told = run(folder, "--until", "confirm")
    assert told[stage] == f"run, because checkpoint/model.safetensors of run {run_id[:8]} is gone"
    assert told["search"].startswith("cached")
    assert weights.read_bytes() == content  # from the folder, where it still stood


def _what_is_out_of_reach_is_fetched(run: Run, folder: Path, scores: list[list[float]]) -> None:
    """As on another machine with the same tracking store: none of the sweep's folders is there."""
    (folder / "sweeps").rename(folder / "elsewhere")
    told = run(folder, "--from", "evaluate")
    assert all(told[stage].startswith("cached") for stage in STAGES[:4])
    assert told["evaluate"] == "run, because --from evaluate says so"
    again = summary(folder)
    assert again["test_openings"] == 2
    assert len(trial_runs_of(folder)) == 3
    assert list((folder / "sweeps").glob("*/fetched/*/model.safetensors"))
    assert [model["test_accuracies"] for model in again["confirm"]["models"]] == scores


def _artifact(of: mlflow.entities.Run, path: str) -> Path:
    return Path(urlsplit(of.info.artifact_uri).path) / path
