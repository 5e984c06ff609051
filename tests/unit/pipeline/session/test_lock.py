"""Tests that only one process at a time uses a folder, with real processes."""

import errno
import fcntl
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.session.lock import lock_holder, lock_path, locked
from tests.deadline import DEADLINE

ROOT = Path(__file__).parents[4]
HOLDER = """
import sys
from pipeline.session.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(folder: Path | str, *more: str) -> Iterator["subprocess.Popen[str]"]:
    line = [sys.executable, "-c", HOLDER, str(folder), *more]
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "sweeps"
    with held_by_another(folder) as process:
        for _ in range(2):  # a refusal does not change the record in the lock
            with pytest.raises(UsageError) as refused, locked(str(folder)):
                pytest.fail("locked twice")
            message = str(refused.value)
            assert message.startswith(
                f"{folder} is in use (process {process.pid} on {socket.gethostname()}: -c {folder})"
            )
            assert message.endswith("wait for it, or name another --storage")
        with locked(str(tmp_path / "another")):
            pass


def test_nobody_reads_a_password_from_the_lock(tmp_path: Path) -> None:
    with held_by_another(tmp_path, "--tracking-uri", "postgresql://u:pa/ss@host/db"):
        assert str(lock_holder(str(tmp_path))).endswith(f"-c {tmp_path} --tracking-uri postgresql://***@host/db")
        assert "pa/ss" not in lock_path(str(tmp_path)).read_text()


def test_the_lock_is_free_after_the_holder_is_killed(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=DEADLINE) == -signal.SIGKILL
        with locked(str(tmp_path)):
            pass


def test_only_the_present_holder_is_named(tmp_path: Path) -> None:
    with held_by_another(tmp_path):
        pass
    with held_by_another(tmp_path) as process:
        with pytest.raises(UsageError) as refused, locked(str(tmp_path)):
            pytest.fail("locked twice")
        assert re.findall(r"process (\d+)", str(refused.value)) == [str(process.pid)]


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


def test_who_holds_a_folder_can_be_asked_without_taking_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    assert lock_holder(folder) is None
    assert not lock_path(folder).exists()
    with held_by_another(folder) as process:
        for _ in range(2):
            assert lock_holder(folder) == f"process {process.pid} on {socket.gethostname()}: -c {folder}"
    assert lock_holder(folder) is None  # although the record of the last holder is still there
    assert lock_path(folder).read_text().startswith(f"process {process.pid} ")
    with locked(folder):
        pass


def test_an_object_stores_folder_is_held_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = "memory://bucket/sweeps"
    with held_by_another(folder) as process:
        with pytest.raises(UsageError, match=rf"^{folder} is in use \(process {process.pid} on "), locked(folder):
            pytest.fail("locked twice")
        assert str(lock_holder(folder)).startswith(f"process {process.pid} on ")
        with locked(f"{folder}2"):
            pass
    with locked(folder):
        pass


def test_a_file_system_without_locks_is_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*anything: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(
            UsageError, match=r"^--storage is .*, whose file system does not support file locks \(No locks available\)"
        ),
        locked(str(tmp_path)),
    ):
        pass
