"""Tests that a full disk ends a sweep with one line and spoils nothing, and that it resumes when there is space."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.deadline import DEADLINE
from tests.integration.commands import (
    assert_gone,
    processes_below,
    run_here,
    start,
    trial_runs_of,
    wait_until,
)
from tests.integration.sweeps import (
    assert_recorded_once,
    ended_trials,
    epochs_of,
    history_of,
    ledger_of,
    stamps,
    summary,
)
from vit.files.checkpoint import CheckpointError, load_state
from vit.files.storage import Folder

pytestmark = pytest.mark.slow

SWEEP = (
    "--dataset", "digits", "--train-limit", "500", "--seed", "1", "--trials", "3", "--max-epochs", "8",
    "--grace-epochs", "2", "--precision", "fp32", "--max-concurrent", "1", "--max-failures", "0",
    "--until", "search",
)  # fmt: skip

PAGE = 2**12
"""The smallest number of bytes that a file takes up on the disk."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk with space for little more than what this sweep writes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(disk)], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk that is full takes one of its own, and mounting it is refused: {error}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_fills_up_ends_the_sweep_which_goes_on_when_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    storage, filler = small_disk / "sweeps", small_disk / "filler"
    command = (*SWEEP, "--storage", str(storage), "--json", "result.json")
    with start("pipeline.sweep", tmp_path, *command) as process:
        wait_until(lambda: epochs_of(storage, 1) >= 2, process)
        below = processes_below(process)
        _fill(filler)
        stdout, stderr = process.communicate(timeout=DEADLINE)
    (full,) = stderr.splitlines()
    assert re.fullmatch(
        f"error: no space left: {storage}/.*/00001/.*: make room, and run the same command again", full
    ), full
    assert (process.returncode, "Traceback" in stdout) == (1, False)
    assert_gone(below)

    assert ended_trials(storage) == {0}
    _assert_loads(storage)
    kept = stamps(storage, {0})
    stopped = {run.info.status: run.data.tags.get("pipeline.stopped") for run in trial_runs_of(tmp_path)}
    assert stopped == {"FINISHED": None, "KILLED": "interrupted"}

    _fill(filler)  # takes what was freed in the meantime
    again = run_here("pipeline.sweep", tmp_path, *command)
    (sweep,) = storage.iterdir()
    # It mostly fails at its first file, a probe. Once, there was space for that file, but not for a trial's weights.
    said = rf"error: no space left: {sweep}/\S+: make room, and run the same command again\n"
    assert re.fullmatch(said, again.stderr), again.stderr
    assert again.returncode == 1

    filler.unlink()
    done = run_here("pipeline.sweep", tmp_path, *command)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "failed" not in {row["ended"] for row in summary(tmp_path)["leaderboard"]}
    assert kept == stamps(storage, {0})
    assert_recorded_once(tmp_path, storage)


def _fill(path: Path) -> None:
    """Takes up all free space, including what a running sweep frees in the meantime."""
    with path.open("ab", buffering=0) as file:
        while shutil.disk_usage(path.parent).free >= PAGE:
            with contextlib.suppress(OSError):
                while file.write(bytes(PAGE)):
                    pass


def _assert_loads(storage: Path) -> None:
    """Checks that every file of the trials on the disk can be loaded."""
    for path in storage.glob("sweep-*/trials/*"):
        trial = int(path.name)
        assert ledger_of(storage, trial) is not None
        assert len(history_of(storage, trial).epochs) > 0
        with safe_open(path / "model.safetensors", "pt") as weights:
            assert len(weights.keys()) > 0
        refused: list[CheckpointError] = []
        state = load_state(Folder(str(path)), refused.append)
        assert (state is None) == (trial in ended_trials(storage))
        assert refused == []
