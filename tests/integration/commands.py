"""Runs commands as a user does, in processes of their own or in this one, and reads what they leave behind."""

import contextlib
import gc
import importlib
import io
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.terminal import exits
from pipeline.tracking import artifacts
from tests.deadline import DEADLINE
from tests.tracking_uri import tracking_uri_undone

ROOT = Path(__file__).parents[2]


def run_to_end(
    module: str, folder: Path, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = DEADLINE
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m module` in `folder` to its end, whatever its exit status; `env` is added to the environment."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=_environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_here(
    module: str, folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Like `run_to_end`, but runs the command in this process, which has already imported the frameworks."""
    stdout, stderr, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, tracking_uri_undone():
        patch.chdir(folder)
        patch.setattr(sys, "argv", [module, *arguments])
        patch.setattr(gc, "freeze", lambda: None)  # freezing is meant for a process that ends soon
        patch.setattr(exits, "_exit_without_waiting", exits.exit_with_error)  # the original would end this process, too
        # A thread need not start and import anything, and its priority is not so low that other tests hold it up.
        patch.setattr(artifacts, "_new_pool", lambda scratch: ThreadPoolExecutor(1))
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                exits.run_command(_main_of(module))
            except SystemExit as end:
                assert isinstance(end.code, int)
                status = end.code
    return subprocess.CompletedProcess([module, *arguments], status, stdout.getvalue(), stderr.getvalue())


def _main_of(module: str) -> Callable[[], None]:
    """Returns the `main` that `python -m module` calls, whether the module is a file or a folder."""
    imported = importlib.import_module(module)
    if hasattr(imported, "__path__"):
        imported = importlib.import_module(f"{module}.__main__")
    main: Callable[[], None] = imported.main
    return main


@contextlib.contextmanager
def start(
    module: str, folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Starts `python -m module` in `folder`, in a process group of its own, and kills it if it outlives the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=_environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()  # Ray's own processes end with it


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str] | None = None, deadline: float = DEADLINE
) -> None:
    """Waits at most `deadline` seconds until the condition is true; fails immediately if `process` has ended."""
    end = time.monotonic() + deadline
    while not condition():
        if process is not None:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"nothing came of it in {deadline} seconds"
        time.sleep(0.2)


def processes_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def title_of(process: psutil.Process) -> str:
    """Returns a process's command line, which Ray's processes rewrite to say what they do; empty if it has ended."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def train_workers() -> list[psutil.Process]:
    """Returns Ray Train's workers on the nodes that this process started; other tests may have workers of their own."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if re.match("ray::.*RayTrainWorker", title_of(process))]


def assert_gone(processes: list[psutil.Process], within: float = 30) -> None:
    _, alive = psutil.wait_procs(processes, timeout=within)
    assert alive == [], alive


def client_of(where: str | Path) -> MlflowClient:
    """Returns a client of a store; `where` is its tracking URI, or the folder in which a command without one ran."""
    return MlflowClient(f"sqlite:///{where}/mlflow.db" if isinstance(where, Path) else where)


def runs_of(where: str | Path, experiment: str = "vit-digits") -> list[Run]:
    """Returns all runs of an experiment; `where` is as in `client_of`."""
    client = client_of(where)
    found = client.get_experiment_by_name(experiment)
    assert found is not None, f"there is no experiment {experiment}"
    return list(client.search_runs([found.experiment_id]))


def trial_runs_of(where: str | Path, experiment: str = "vit-digits") -> list[Run]:
    return [run for run in runs_of(where, experiment) if run.data.tags["pipeline.kind"] == "trial"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TrackingServer:
    """An MLflow server that keeps runs and artifacts in `folder`. It can be started again after it was stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        assert self._process is None, "it runs already"
        stores = ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        stores += ["--artifacts-destination", f"{self._folder}/artifacts"]
        address = ["--host", "127.0.0.1", "--port", str(self._port)]
        # MLflow's own jobs are of no use here, and would run in seven more processes.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self._log.open("a") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *address, *stores, "--workers", "1"],
                cwd=self._folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(lambda: process.poll() is not None or answers(f"{self.uri}/health"))
        assert process.poll() is None, self._log.read_text()

    def hang(self) -> None:
        """Makes the server accept connections without ever answering them."""
        for process in self._processes():
            process.suspend()

    def stop(self) -> None:
        """Kills the server and its workers, even if they hang; does nothing if they are gone."""
        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=120)
        self._process = None

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **(more or {})}


def answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
        return True
    return False
