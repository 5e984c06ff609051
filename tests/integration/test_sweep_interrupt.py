"""Ctrl-C in the middle of a sweep: the first ends it in good order, the second at once."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEADLINE = 150


def test_one_ctrl_c_ends_in_good_order(tmp_path: Path) -> None:
    with _started(tmp_path, "--trials", "20", "--max-epochs", "8", "--grace-epochs", "1") as process:
        _await(lambda: _ended_trials(tmp_path), process)
        below = _processes_below(process)
        assert any("ray::" in " ".join(child.cmdline()) for child in below)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does it: to every process of the command
        before = time.monotonic()
        stdout, stderr = process.communicate(timeout=DEADLINE)
        assert time.monotonic() - before < 60
    assert process.returncode == 130
    trials = _trial_runs(tmp_path)
    ended = [run for run in trials if run.data.tags.get("pipeline.stopped") != "interrupted"]
    running = [run for run in trials if run.data.tags.get("pipeline.stopped") == "interrupted"]
    assert ended and running
    assert stderr == f"error: interrupted: {len(ended)} of 20 trials had ended; they stay in MLflow\n"
    assert "Traceback" not in stdout
    _assert_all_interrupted(tmp_path, but=[run.info.run_id for run in ended])
    for run in ended:
        assert (run.info.status, run.data.tags.get("pipeline.stopped")) in [("KILLED", "asha"), ("FINISHED", None)]
    folder = _sweep_folder(tmp_path)
    for run in trials:
        assert "val/accuracy" in run.data.metrics
        files = {path.name for path in (folder / "trials" / f"{int(run.data.tags['pipeline.trial']):05d}").iterdir()}
        assert ("latest.pt" in files) == (run in running)  # what a trial could go on from
    _assert_gone(below)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    # An epoch takes many seconds at this size: an orderly end would wait for it.
    with _started(tmp_path, "--trials", "2", "--max-epochs", "9", "--img-size", "32") as process:
        _await(lambda: list(tmp_path.glob("sweeps/*/trials/*/config.json")), process)
        _await(lambda: _trial_runs(tmp_path), process)
        below = _processes_below(process)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)  # two at the same instant would be one
        os.killpg(process.pid, signal.SIGINT)
        before = time.monotonic()
        stdout, stderr = process.communicate(timeout=DEADLINE)
        assert time.monotonic() - before < 60
    assert process.returncode == 130
    assert stderr == "error: interrupted\n"
    assert "Traceback" not in stdout
    _assert_all_interrupted(tmp_path)
    assert not any(run.data.metrics for run in _trial_runs(tmp_path))
    _assert_gone(below)


@contextlib.contextmanager
def _started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, which does not outlive the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.sweep", "--dataset", "digits", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()  # Ray's own processes end with it


def _await(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ended_trials(folder: Path) -> list[Path]:
    """Trials that have done an epoch, and whose state is gone, since they need it no more."""
    trials = folder.glob("sweeps/*/trials/*/history.json")
    return [path.parent for path in trials if not (path.parent / "latest.pt").exists()]


def _processes_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


def _sweep_folder(folder: Path) -> Path:
    (found,) = (path for path in (folder / "sweeps").iterdir() if path.is_dir())
    return found


def _runs(folder: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("vit-digits")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def _trial_runs(folder: Path) -> list[Run]:
    return [run for run in _runs(folder) if run.data.tags["pipeline.kind"] == "trial"]


def _assert_all_interrupted(folder: Path, but: list[str] | None = None) -> None:
    runs = [run for run in _runs(folder) if run.info.run_id not in (but or [])]
    finished = {run.data.tags["pipeline.stage"] for run in runs if run.info.status == "FINISHED"}
    assert finished == {"prepare"}
    interrupted = [run for run in runs if run.data.tags.get("pipeline.stage") != "prepare"]
    assert {run.data.tags["pipeline.kind"] for run in interrupted} == {"sweep", "stage", "trial"}
    for run in interrupted:
        assert (run.info.status, run.data.tags["pipeline.stopped"]) == ("KILLED", "interrupted")
        assert run.info.end_time is not None
