"""Tests that nothing is lost or recorded twice when the tracking server goes away, even if a trial fails then."""

import re
import shlex
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run

from pipeline.tracking.events import TrackingError
from pipeline.tracking.tracker import Tracker
from tests.deadline import DEADLINE
from tests.integration.commands import (
    TrackingServer,
    client_of,
    processes_below,
    run_here,
    runs_of,
    start,
    trial_runs_of,
    wait_until,
)
from tests.integration.sweeps import assert_recorded_once, ended_trials, epochs_of, ledger_of, stamps, summary

pytestmark = pytest.mark.slow

SWEEP = (
    "--dataset", "digits", "--train-limit", "500", "--seed", "1", "--trials", "3", "--max-epochs", "8",
    "--grace-epochs", "2", "--precision", "fp32", "--max-concurrent", "1", "--max-failures", "0",
    "--tracking-timeout", "5", "--json", "result.json", "--until", "search",
)  # fmt: skip
ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Makes MLflow give up soon, so that the tracker retries and soon notices that the server is back."""


def test_a_server_that_comes_back_gets_all_and_one_that_does_not_ends_the_sweep(
    tracking_server: TrackingServer, tmp_path: Path
) -> None:
    work, uri = tmp_path / "work", tracking_server.uri
    sweeps = work / "sweeps"
    work.mkdir()
    with start("pipeline.sweep", work, *SWEEP, "--tracking-uri", uri, env=ENVIRONMENT) as process:
        wait_until(lambda: epochs_of(sweeps, 0) >= 2, process)
        tracking_server.stop()
        wait_until(lambda: epochs_of(sweeps, 1) >= 2, process)  # training continues
        trial = _training_process(process)
        trial.suspend()  # makes an epoch take long, so that the sweep does not end before the server is back
        tracking_server.start()
        done = epochs_of(sweeps, 1)
        wait_until(lambda: _epochs_recorded(uri, 0) == 8 and _epochs_recorded(uri, 1) >= done - 1, process)
        tracking_server.stop()
        trial.kill()
        wait_until(lambda: ended_trials(sweeps) == {0, 1, 2}, process)
        searched = time.monotonic()
        stdout, stderr = process.communicate(timeout=DEADLINE)
        assert time.monotonic() - searched < 90  # evaluation, twice the timeout of five seconds, and closing
    assert process.returncode == 1
    assert "Traceback" not in stdout + stderr
    error = stderr.splitlines()[-1]
    assert re.match(rf"error: \d+ records could not be written to {uri}: ", error), stderr
    failed = ledger_of(sweeps, 1)
    assert failed is not None
    assert (failed.outcome, epochs_of(sweeps, 2)) == ("failed", 8)  # and the sweep continued
    kept = stamps(sweeps, {0, 1, 2})

    tracking_server.start()
    command = shlex.split(stdout.splitlines()[-1].removeprefix("to go on: "))
    again = run_here(command[2], work, *command[3:])
    assert (again.returncode, again.stderr) == (0, ""), again.stdout + again.stderr
    assert stamps(sweeps, {0, 1, 2}) == kept
    assert_recorded_once(uri, sweeps)
    (run,) = _runs_of_trial(uri, 1)
    assert (run.info.status, run.data.tags["pipeline.error"]) == ("FAILED", failed.error)
    (row,) = (row for row in summary(work)["leaderboard"] if row["trial"] == 1)
    assert (row["ended"], row["error"], row["epochs_run"]) == ("failed", failed.error, epochs_of(sweeps, 1))


def test_records_wait_for_a_server_that_hangs_and_dies(
    tracking_server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # otherwise MLflow itself retries for half a minute
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "curves.png").write_bytes(b"picture")
    tracker = Tracker(tracking_server.uri, "vit-digits")
    tracker.start_run("s", "sweep")
    tracker.start_run("t0", "trial-00", "s")
    tracker.log("t0", {"val/loss": 1.0}, step=1)
    tracker.flush()

    tracking_server.hang()
    slowest = 0.0
    for epoch in range(2, 31):
        started = time.monotonic()
        tracker.log("t0", {"val/loss": float(epoch)}, step=epoch)
        slowest = max(slowest, time.monotonic() - started)
    tracker.end_run("t0", "FINISHED")
    tracker.log("t0", files=tmp_path / "files")
    tracker.start_run("t1", "trial-01", "s", params={"depth": 3})
    tracker.end_run("t1", "KILLED", {"pipeline.stopped": "asha"})
    assert slowest < 1  # waiting for an answer would have taken much longer

    tracking_server.stop()
    with pytest.raises(TrackingError, match=f"33 records could not be written to {tracking_server.uri}: ") as lost:
        tracker.flush(timeout=3.0)
    assert "refused" in str(lost.value) or "Max retries" in str(lost.value)

    tracking_server.start()
    tracker.flush(timeout=DEADLINE)
    sweep, first, second = sorted(runs_of(tracking_server.uri), key=lambda run: str(run.info.run_name))
    assert [run.info.run_name for run in (sweep, first, second)] == ["sweep", "trial-00", "trial-01"]
    assert [run.info.status for run in (sweep, first, second)] == ["RUNNING", "FINISHED", "KILLED"]
    history = client_of(tracking_server.uri).get_metric_history(first.info.run_id, "val/loss")
    assert [(entry.step, entry.value) for entry in history] == [(epoch, float(epoch)) for epoch in range(1, 31)]
    assert second.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    # The times are those of the events, not those at which they were written.
    assert first.info.end_time <= second.info.start_time <= second.info.end_time
    [artifact] = client_of(tracking_server.uri).list_artifacts(first.info.run_id)
    assert (artifact.path, artifact.file_size) == ("curves.png", len(b"picture"))

    tracking_server.stop()
    tracker.end_open_runs("FAILED", {})
    started = time.monotonic()
    with pytest.raises(TrackingError, match="1 records could not be written"):
        tracker.close(timeout=1.0)
    assert time.monotonic() - started < 5


def _training_process(sweep: subprocess.Popen[str]) -> psutil.Process:
    """Returns the only process that trains, whether it is training or between two epochs."""
    (found,) = (child for child in processes_below(sweep) if re.match("ray::(Trial|ResourceTrainable)", child.name()))
    return found


def _epochs_recorded(uri: str, trial: int) -> int:
    history = client_of(uri).get_metric_history
    return sum(len(history(run.info.run_id, "val/loss")) for run in _runs_of_trial(uri, trial))


def _runs_of_trial(uri: str, trial: int) -> list[Run]:
    return [run for run in trial_runs_of(uri) if run.data.tags["pipeline.trial"] == str(trial)]
