"""One process at a time over a folder, with real processes."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.exits import UsageError
from pipeline.lock import locked

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pipeline.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    line = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "sweeps"
    with held_by_another(folder) as holder:
        for _ in range(2):  # being refused does not disturb the record
            with pytest.raises(UsageError) as refused, locked(str(folder)):
                pytest.fail("locked twice")
            assert str(refused.value).startswith(
                f"--storage is {folder}, which another sweep uses (process {holder.pid}:"
            )
            assert "wait, or name another folder" in str(refused.value)
        with locked(str(tmp_path / "another")):
            pass


def test_the_lock_is_free_after_the_holder_is_killed(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        assert holder.wait(timeout=30) == -signal.SIGKILL
        with locked(str(tmp_path)):
            pass


def test_only_the_present_holder_is_named(tmp_path: Path) -> None:
    with held_by_another(tmp_path):
        pass
    with held_by_another(tmp_path) as holder:
        with pytest.raises(UsageError) as refused, locked(str(tmp_path)):
            pytest.fail("locked twice")
        assert re.findall(r"process (\d+)", str(refused.value)) == [str(holder.pid)]


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(str(tmp_path)):
            raise ZeroDivisionError
    with held_by_another(tmp_path):
        pass


@pytest.mark.parametrize("below", ["", "/sweeps"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    folder = f"{tmp_path}/file{below}"
    with pytest.raises(UsageError, match=f"--storage is {folder}, which cannot be written: "), locked(folder):
        pytest.fail("locked a file")


def test_an_object_store_has_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with locked("memory://bucket/sweeps"), locked("memory://bucket/sweeps"):
        pass
    assert list(tmp_path.iterdir()) == []
