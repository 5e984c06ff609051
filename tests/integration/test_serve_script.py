"""Tests that `mlflow/serve.sh` refuses with one line what it cannot start with, and leaves nothing running."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.team_server import SERVE, TeamServer, team_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TeamServer]:
    with team_server(tmp_path / "server", "localhost") as it:
        yield it


def assert_refused(server: TeamServer, status: int, message: str, *options: str, **environment: str) -> None:
    done = server.try_to_start(*options, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"error: {message}\n")
    assert server.processes() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ADMIN_PASSWORD": ""}, "ADMIN_PASSWORD is empty"),
        ({"POSTGRES_PASSWORD": "it's"}, "POSTGRES_PASSWORD may hold letters, digits and - _ . only"),
        ({"SECRET_KEY": "$(reboot)"}, "SECRET_KEY may hold letters, digits and - _ . only"),
        ({"PATH": "/tmp"}, "PATH is no setting"),
    ],
)
def test_settings_that_will_not_do(server: TeamServer, change: dict[str, str], message: str) -> None:
    server.write_settings(**change)
    assert_refused(server, 2, f"{server.settings}: {message}")


def test_settings_that_others_may_read(server: TeamServer) -> None:
    server.settings.chmod(0o640)
    message = f"others may read {server.settings}, which holds passwords: chmod 600 {server.settings}"
    assert_refused(server, 2, message)


def test_no_settings(server: TeamServer) -> None:
    server.settings.unlink()
    done = server.try_to_start()
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: there is no settings file {server.settings}: copy ")


def test_no_postgresql(server: TeamServer, tmp_path: Path) -> None:
    """The PATH has only the programs that the script itself needs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "dirname", "id", "find", "sort", "tail", "ls", "env"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    message = "PostgreSQL is not installed: apt-get install postgresql, or name its programs' folder in PG_BIN"
    assert_refused(server, 1, message, PG_BIN=str(programs), PATH=str(programs))


def test_no_mlflow(server: TeamServer) -> None:
    assert_refused(
        server, 1, "there is no mlflow on the PATH: activate the project's environment", PATH="/usr/bin:/bin"
    )


def test_a_flag_that_it_does_not_know(tmp_path: Path) -> None:
    done = subprocess.run([SERVE, "--port", tmp_path / "as-many-arguments-as-it-takes"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"error: usage: {SERVE} [--database-only] FOLDER [SETTINGS]\n")


def test_a_port_that_is_taken_and_a_password_that_is_another(server: TeamServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        server.write_settings(SERVER_PORT=port)
        assert_refused(server, 2, f"SERVER_PORT is {port}, where something listens already")
    server.write_settings(POSTGRES_PASSWORD="another")
    assert_refused(server, 2, f"the database refuses POSTGRES_PASSWORD: {server.folder} was made with another")
