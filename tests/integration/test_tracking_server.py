"""A team's tracking server, started as `mlflow/README.md` says, called by its name and by another, and with a login."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pipeline.errors import UsageError
from pipeline.tracking.server import refuse_unreachable
from pipeline.tracking.tracker import Tracker
from tests.integration.commands import ROOT, answers, client_of, free_port, run_here, wait_until

pytestmark = pytest.mark.slow
HOST = socket.gethostname()


@contextmanager
def served(folder: Path, *more: str, **environment: str) -> Iterator[int]:
    """The server of the README's command without Docker, with its files in `folder`; gives the port."""
    blocks = re.findall(r"```\n(mlflow server.*?)```", (ROOT / "mlflow/README.md").read_text(), re.DOTALL)
    (command,) = (block.replace("\\\n", " ") for block in blocks)
    port = free_port()
    line = command.replace("/srv/mlflow", str(folder)).replace("5000", str(port)).replace("SERVER", HOST)
    program = [sys.executable, "-m", *shlex.split(line), "--workers", "1", *more]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(program, cwd=folder, env=env, stdout=log, stderr=log, text=True) as it,
    ):
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), it)
            yield port
        finally:
            for process in psutil.Process(it.pid).children(recursive=True):
                process.kill()
            it.kill()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(tmp_path_factory.mktemp("server")) as found:
        yield found


def test_it_is_called_by_its_name(port: int) -> None:
    uri = f"http://{HOST}:{port}"
    refuse_unreachable(uri)
    tracker = Tracker(uri, "vit-named")
    tracker.start_run("sweep", "named")
    tracker.close()
    experiment = client_of(uri).get_experiment_by_name("vit-named")
    assert experiment is not None
    assert [run.info.run_name for run in client_of(uri).search_runs([experiment.experiment_id])] == ["named"]


def test_by_a_name_that_it_does_not_allow_a_command_says_so_in_a_line(port: int, tmp_path: Path) -> None:
    done = run_here("pipeline.promote", tmp_path, "--dataset", "digits", "--tracking-uri", f"http://127.0.0.2:{port}")
    assert (done.returncode, done.stdout) == (2, "")
    name = f"127.0.0.2:{port}"
    assert done.stderr == (
        f"error: the tracking server http://{name} refuses requests for the name {name}: "
        f"add {name} to its --allowed-hosts\n"
    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same with a login: HOST:PORT of it."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        "admin_username = alice\nadmin_password = right-password-1\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    secrets = {"MLFLOW_AUTH_CONFIG_PATH": f"{folder}/auth.ini", "MLFLOW_FLASK_SERVER_SECRET_KEY": "for a test"}
    with served(folder, "--app-name", "basic-auth", **secrets) as port:
        yield f"{HOST}:{port}"


def test_with_the_login_it_lets_in(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_unreachable(f"http://alice:right-password-1@{guarded}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right-password-1")
    refuse_unreachable(f"http://{guarded}")
    Tracker(f"http://{guarded}", "vit-guarded").close()


@pytest.mark.parametrize("login", ["", "alice:wrong-password@"])
def test_without_it_or_with_another_a_line_says_so_and_shows_no_password(guarded: str, login: str) -> None:
    with pytest.raises(UsageError) as refused:
        refuse_unreachable(f"http://{login}{guarded}")
    shown = login.replace("alice:wrong-password", "***")
    assert str(refused.value) == (
        f"the tracking server http://{shown}{guarded} wants a login, or refuses the one given: "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
