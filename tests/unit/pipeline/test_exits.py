"""How a command ends, as a caller sees it: the exit status and one line on stderr."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def _run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-c", program, *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


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
        f"from pipeline.exits import *\nfrom vit.data import DataError\ndef command(): raise {error}\n"
        "run_command(command)\nprint('reached')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"{line}\n")


def test_a_bug_keeps_its_traceback() -> None:
    done = _run("from pipeline.exits import run_command\nrun_command(lambda: 1 / 0)")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr.splitlines()[-1]
    assert "Traceback" in done.stderr


def test_a_command_that_ends_well_ends_with_0() -> None:
    done = _run("from pipeline.exits import run_command\nrun_command(lambda: print('fine'))")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


PARSER = (
    "from pipeline.exits import Parser\nparser = Parser(prog='p')\n"
    "parser.add_argument('--trials', type=int, default=32, help='how many')\n"
    "parser.add_argument('--space', help='which one')\nparser.parse_args()"
)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--trials", "many"), ("--trials", "'many'", "int")),
        (("--trials",), ("--trials", "expected one argument")),
        (("--trails", "3"), ("unrecognized", "--trails 3")),
        (("--trial", "3"), ("unrecognized", "--trial 3")),  # an abbreviation may mean another flag tomorrow
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
