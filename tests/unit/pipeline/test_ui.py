"""Tests what the command that opens the UI refuses."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deadline import DEADLINE

ROOT = Path(__file__).parents[3]


def _command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "pipeline.ui", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)


def _assert_refused(done: "subprocess.CompletedProcess[str]", message: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {message}")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    (tmp_path / "mlflow.db").touch()
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_port_in_use_is_refused(uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = _command("--port", str(port), "--tracking-uri", uri)
    _assert_refused(done, f"--port is {port}, which cannot be used (Address already in use): name another")


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_what_is_no_port_is_refused(uri: str, port: str) -> None:
    _assert_refused(_command(f"--port={port}", "--tracking-uri", uri), f"--port is {port}, but must be from 1 to 65535")


def test_a_database_that_is_missing_is_refused_and_not_made(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path}/none.db"
    _assert_refused(_command("--tracking-uri", missing), f"--tracking-uri is {missing}, but there is no such database")
    assert list(tmp_path.iterdir()) == []


def test_a_server_has_a_ui_of_its_own() -> None:
    done = _command("--tracking-uri", "https://mlflow.example.org")
    assert (done.returncode, done.stderr) == (0, "")
    assert "https://mlflow.example.org" in done.stdout
