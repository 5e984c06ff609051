"""Tests that a second SIGTERM ends a running training immediately, however long its epoch takes."""

import signal
from pathlib import Path

import pytest

from tests.deadline import DEADLINE
from tests.integration.commands import assert_gone, processes_below, runs_of, start, wait_until

pytestmark = pytest.mark.slow

# With 256 patches per image, an epoch takes minutes.
TRAIN = ("--dataset", "digits", "--img-size", "32", "--set", "patch_size=2", "--epochs", "2", "--precision", "fp32")


def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    with start("pipeline.train", tmp_path, *TRAIN) as process:
        wait_until(lambda: list(tmp_path.glob("sweeps/*/ray-train/*/starts.json")), process)
        below = processes_below(process)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert any("stopping at the end of the epoch" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=DEADLINE)
    assert (process.returncode, stderr) == (130, "error: interrupted\n"), stdout
    assert stdout.splitlines()[-1] == f"to go on: python -m pipeline.train {' '.join(TRAIN)}"
    assert not list(tmp_path.glob("sweeps/*/trials/00000/history.json"))  # it did not wait for the epoch's end
    (run,) = runs_of(tmp_path)
    assert (run.info.status, run.data.tags["pipeline.stopped"]) == ("KILLED", "interrupted")
    assert_gone(below)
