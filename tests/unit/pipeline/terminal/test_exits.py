"""Tests how a command ends, as its caller sees it: with an exit status and, after an error, one line on stderr."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import disk_full, storage_failure
from tests.deadline import DEADLINE
from vit.files.errors import StorageError

ROOT = Path(__file__).parents[4]


def _run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-c", program, *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        ("UsageError('--trials is 0, but must be at least 1')", 2, "error: --trials is 0, but must be at least 1"),
        ("DataError('--dataset is x, but\\n  is no folder')", 2, "error: --dataset is x, but is no folder"),
        ("PipelineError('the server\\ndoes not answer')", 1, "error: the server does not answer"),
        ("GateRefusedError('3 of 9, not more than 4')", 3, "error: 3 of 9, not more than 4"),
        ("InterruptedCommandError('interrupted: 2 of 9 ended')", 130, "error: interrupted: 2 of 9 ended"),
        ("KeyboardInterrupt", 130, "error: interrupted"),
    ],
)
def test_an_error_is_one_line_and_a_status(error: str, status: int, line: str) -> None:
    done = _run(
        "from pipeline.errors import *\nfrom pipeline.terminal.exits import *\nfrom vit.data.arrays import DataError\n"
        f"def command(): raise {error}\n"
        "run_command(command)\nprint('reached')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"{line}\n")


def test_a_bug_keeps_its_traceback() -> None:
    done = _run("from pipeline.terminal.exits import run_command\nrun_command(lambda: 1 / 0)")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr.splitlines()[-1]
    assert "Traceback" in done.stderr


def test_a_command_that_ends_well_ends_with_0() -> None:
    done = _run("from pipeline.terminal.exits import run_command\nrun_command(lambda: print('fine'))")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


PARSER = (
    "from pipeline.terminal.flags import Parser\nparser = Parser(prog='p')\n"
    "parser.add_argument('--trials', type=int, default=32, help='how many')\n"
    "parser.add_argument('--space', help='which one')\nparser.parse_args()"
)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--trials", "many"), ("--trials", "'many'", "int")),
        (("--trials",), ("--trials", "expected one argument")),
        (("--trails", "3"), ("unrecognized", "--trails 3")),
        (("--trial", "3"), ("unrecognized", "--trial 3")),  # an abbreviation may mean another flag in a later version
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    done = _run(PARSER, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    for part in parts:
        assert part in done.stderr


def test_help_shows_the_defaults_there_are() -> None:
    done = _run(PARSER, "--help")
    assert done.returncode == 0
    assert "how many (default: 32)" in done.stdout
    assert "None" not in done.stdout


def test_a_device_that_is_really_full() -> None:
    with pytest.raises(OSError) as failed:
        Path("/dev/full").write_bytes(b"no room for this")
    assert disk_full(failed.value) == "no space left: make room, and run the same command again"


class WrappedByRayError(Exception):
    """Imitates Ray's error, which keeps the exception that a worker raised in `cause`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("the worker failed")
        self.cause = cause


def raised_from(error: Exception) -> Exception:
    wrapper = RuntimeError("the checkpoint was not written")
    wrapper.__cause__ = error
    return wrapper


FULL = OSError(errno.ENOSPC, "No space left on device", "/data/latest.pt")


@pytest.mark.parametrize("error", [FULL, raised_from(FULL), WrappedByRayError(raised_from(WrappedByRayError(FULL)))])
def test_a_full_disk_is_reported_with_its_path_whatever_is_around_it(error: Exception) -> None:
    assert disk_full(error) == "no space left: /data/latest.pt: make room, and run the same command again"


def test_a_quota_that_is_used_up_is_a_full_disk() -> None:
    assert disk_full(OSError(errno.EDQUOT, "Disk quota exceeded")) is not None


AWAY = StorageError("s3://bucket/x: no answer")


@pytest.mark.parametrize("error", [AWAY, raised_from(AWAY), WrappedByRayError(raised_from(WrappedByRayError(AWAY)))])
def test_an_object_store_that_does_not_answer_is_no_full_disk_but_a_failure_of_the_storage(error: Exception) -> None:
    assert disk_full(error) is None
    failure = storage_failure(error)
    assert failure is not None and failure.startswith("s3://bucket/x: no answer (all that was saved is there; ")
    assert storage_failure(FULL) == disk_full(FULL)


def test_a_storage_that_does_not_answer_is_one_line() -> None:
    done = _run(
        "from pipeline.terminal.exits import *\nfrom vit.files.errors import StorageError\n"
        "def command(): raise StorageError('s3://bucket/x: no answer')\nrun_command(command)"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: s3://bucket/x: no answer (all ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "error",
    [
        None,
        ValueError("No space left on device"),
        OSError(errno.EACCES, "Permission denied"),
        OSError("s3://bucket/x: a reason without a number"),
        raised_from(PermissionError("not yours")),
        WrappedByRayError(ValueError("bad")),
    ],
)
def test_other_trouble_is_no_full_disk(error: Exception | None) -> None:
    assert disk_full(error) is None
    assert storage_failure(error) is None
