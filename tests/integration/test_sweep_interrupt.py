"""Tests of a running sweep: another in its folder is refused, one signal ends it cleanly, a second immediately."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.deadline import DEADLINE
from tests.integration.commands import (
    assert_gone,
    processes_below,
    run_here,
    runs_of,
    start,
    title_of,
    trial_runs_of,
    wait_until,
)
from tests.integration.sweeps import ended_trials, epochs_of

pytestmark = pytest.mark.slow

DIGITS = ("--dataset", "digits", "--precision", "fp32")


def test_a_second_sweep_is_refused_and_one_ctrl_c_ends_in_good_order(tmp_path: Path) -> None:
    arguments = (*DIGITS, "--trials", "8", "--max-epochs", "8", "--grace-epochs", "1", "--until", "search")
    with start("pipeline.sweep", tmp_path, *arguments) as process:
        wait_until(lambda: list(tmp_path.glob("sweeps/*/session.json")), process)
        second = run_here("pipeline.sweep", tmp_path, *arguments)
        assert (second.returncode, second.stdout) == (2, "")
        holder = rf"process {process.pid} on {socket.gethostname()}: .*"
        in_use = rf"{tmp_path}/sweeps/sweep-digits-\w+ is in use \({holder}\): wait for it, or name another --storage"
        assert re.fullmatch(f"error: {in_use}\n", second.stderr), second.stderr
        assert process.poll() is None
        wait_until(lambda: _some_ended_and_one_is_half_way(tmp_path / "sweeps"), process)
        below = processes_below(process)
        assert any("ray::" in title_of(child) for child in below)
        os.killpg(process.pid, signal.SIGINT)  # to every process of the command, as a terminal does
        before = time.monotonic()
        stdout, stderr = process.communicate(timeout=DEADLINE)
        assert time.monotonic() - before < 60
    assert process.returncode == 130, stdout + stderr
    trials = trial_runs_of(tmp_path)
    ended = [run for run in trials if run.data.tags.get("pipeline.stopped") != "interrupted"]
    running = [run for run in trials if run.data.tags.get("pipeline.stopped") == "interrupted"]
    assert ended and running
    assert stderr == f"error: interrupted: {len(ended)} of 8 trials had ended; they stay in MLflow\n"
    _assert_printed_how_to_go_on(stdout, *arguments)
    _assert_all_interrupted(tmp_path, but=[run.info.run_id for run in ended])
    for run in ended:
        assert (run.info.status, run.data.tags.get("pipeline.stopped")) in [("KILLED", "asha"), ("FINISHED", None)]
    folder = _sweep_folder(tmp_path)
    for run in trials:
        assert "val/accuracy" in run.data.metrics
        files = {path.name for path in (folder / "trials" / f"{int(run.data.tags['pipeline.trial']):05d}").iterdir()}
        assert ("latest.pt" in files) == (run in running)  # the checkpoint from which a trial could resume
    assert_gone(below)


def test_sigterm_asks_and_ctrl_c_then_ends_at_once(tmp_path: Path) -> None:
    # At this image size, an epoch takes many seconds, for which a clean end would wait.
    arguments = (*DIGITS, "--trials", "2", "--max-epochs", "9", "--img-size", "32", "--until", "search")
    with start("pipeline.sweep", tmp_path, *arguments) as process:
        wait_until(lambda: list(tmp_path.glob("sweeps/*/trials/*/config.json")), process)
        wait_until(lambda: trial_runs_of(tmp_path), process)
        below = processes_below(process)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert any("stopping at the end of the epoch" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        before = time.monotonic()
        stdout, stderr = process.communicate(timeout=DEADLINE)
        assert time.monotonic() - before < 60
    assert process.returncode == 130, stdout + stderr
    assert stderr == "error: interrupted\n"
    _assert_printed_how_to_go_on(stdout, *arguments)
    _assert_all_interrupted(tmp_path)
    assert not any(run.data.metrics for run in trial_runs_of(tmp_path))
    assert_gone(below)


def _some_ended_and_one_is_half_way(sweeps: Path) -> bool:
    """Whether a trial has ended and another is far enough from its last epoch to be interrupted before it."""
    ended = ended_trials(sweeps)
    return bool(ended) and any(1 <= epochs_of(sweeps, trial) <= 5 for trial in set(range(8)) - ended)


def _assert_printed_how_to_go_on(stdout: str, *arguments: str) -> None:
    assert "Traceback" not in stdout
    assert stdout.splitlines()[-1] == f"to go on: python -m pipeline.sweep {' '.join(arguments)}"


def _sweep_folder(folder: Path) -> Path:
    (found,) = (path for path in (folder / "sweeps").iterdir() if path.is_dir())
    return found


def _assert_all_interrupted(folder: Path, but: list[str] | None = None) -> None:
    runs = [run for run in runs_of(folder) if run.info.run_id not in (but or [])]
    finished = {run.data.tags["pipeline.stage"] for run in runs if run.info.status == "FINISHED"}
    assert finished == {"prepare"}
    interrupted = [run for run in runs if run.data.tags.get("pipeline.stage") != "prepare"]
    assert {run.data.tags["pipeline.kind"] for run in interrupted} - {"finalist"} == {"sweep", "stage", "trial"}
    for run in interrupted:
        assert (run.info.status, run.data.tags["pipeline.stopped"]) == ("KILLED", "interrupted")
        assert run.info.end_time is not None
