"""Sets MLflow up, and opens a tracking store after checking that the store exists and answers."""

import fcntl
import logging
import os
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError, UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient


_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Otherwise MLflow prints two lines at the end of each run when it uses a server.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Models are saved as pt2, so MLflow can refuse every model whose loading would unpickle code.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # MLflow's defaults, 7 retries of 120 s each, would keep a command waiting for many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
_ANSWER_TIMEOUT = 5.0
"""Seconds that a server has to answer."""
_EXPERIMENTS = "/api/2.0/mlflow/experiments/search"
_SQLITE = "sqlite:///"
_SQLITE_MAGIC = b"SQLite format 3\0"


def prepare_mlflow() -> None:
    """Sets MLflow up for the commands; the user's environment takes precedence. Call it before `import mlflow`."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # Levels of their own: importing mlflow.pytorch sets the root logger's level to ERROR, which would hide the warnings
    # of this project.
    for name in ("pipeline", "vit"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Below errors, these libraries log only what the caller learns anyway.
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def refuse_unreachable(uri: str) -> None:
    """Refuses a tracking URI that MLflow cannot use: in seconds with one line, not after minutes with a traceback.

    Call `prepare_mlflow` first.

    Args:
        uri: as `pipeline.config.resolve_tracking_uri` returns it.

    Raises:
        UsageError: the server does not answer, wants a login or is no MLflow server; `uri` is not a tracking URI; or it
            names a SQLite file that is not a database or cannot be written.
    """
    scheme = urllib.parse.urlsplit(uri).scheme
    if scheme in ("http", "https"):
        _refuse_unusable_server(uri)
    elif uri.startswith(_SQLITE):
        _refuse_unusable_database(_database_path(uri))
    elif scheme in ("", "file"):
        raise UsageError(
            f"--tracking-uri is {uri!r}, but must be sqlite:///FILE, the http(s):// address of a server, or another"
            " database that MLflow knows"
        )


def refuse_missing_database(uri: str) -> None:
    """Refuses a SQLite database that does not exist, where MLflow itself would create an empty one.

    For commands that only read or change existing runs.

    Raises:
        UsageError: the SQLite file does not exist.
    """
    if uri.startswith(_SQLITE) and not _database_path(uri).exists():
        raise UsageError(f"--tracking-uri is {uri}, but there is no such database: run a sweep first, or name its file")


def open_client(uri: str) -> "MlflowClient":
    """Returns a client of the store at `uri`, which becomes MLflow's global store; call `prepare_mlflow` first.

    Raises:
        PipelineError: the store cannot be opened: its driver is missing, it does not answer, or its tables are of
            another MLflow version.
    """
    import mlflow

    try:
        # Some of MLflow's calls look at the global URI only, whatever their client was given.
        mlflow.set_tracking_uri(uri)
        return mlflow.MlflowClient(uri)
    except Exception as error:  # each database driver has errors of its own
        raise PipelineError(f"MLflow cannot open {uri}: {error}") from error


@contextmanager
def existing_store(uri: str) -> "Iterator[MlflowClient]":
    """Yields a client of a store that exists already, for commands that read or change what it holds.

    Args:
        uri: as `pipeline.config.resolve_tracking_uri` returns it.

    Raises:
        UsageError: there is no such store, or it cannot be used (`refuse_unreachable`).
        PipelineError: the store cannot be opened, or it refuses a request within the block.
    """
    prepare_mlflow()
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    # Imported only now: this takes seconds, which `--help` and usage errors should not.
    from mlflow.exceptions import MlflowException

    try:
        yield open_client(uri)
    except MlflowException as error:
        raise PipelineError(f"MLflow at {uri}: {error.message}") from error


@contextmanager
def database_lock(uri: str) -> Iterator[None]:
    """Holds a lock on a SQLite database: two processes that create it at the same time would both fail.

    Raises:
        UsageError: the database's file system does not support locks.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    path = _database_path(uri)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError as error:  # a network file system without a lock service
            raise UsageError(
                f"--tracking-uri names {path}, whose file system does not support file locks ({error.strerror}): name"
                " a file on a local disk, or a server"
            ) from error
        yield
    finally:
        os.close(folder)  # this releases the lock too


def _refuse_unusable_server(uri: str) -> None:
    """Refuses a server that does not list its experiments to this user.

    Uses the login and certificates that MLflow itself would use. `/health` would not do: it answers without a login.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            credentials, _EXPERIMENTS, "POST", json={"max_results": 1},
            timeout=_ANSWER_TIMEOUT, max_retries=0, raise_on_status=False,
        )  # fmt: skip
    except Exception as error:  # errors of requests, urllib3 or MLflow, one wrapped in the other
        raise _no_answer(uri, _innermost(error)) from error
    status, name = answer.status_code, urllib.parse.urlsplit(uri).netloc.rpartition("@")[2]
    if status >= 500:
        raise _no_answer(uri, f"it answers {status} {answer.reason}")
    if status == 401:
        raise UsageError(
            f"the tracking server {uri} wants a login, or refuses the one given: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    if status == 403 and "host header" in answer.text.lower():
        raise UsageError(
            f"the tracking server {uri} refuses requests for the name {name}: add {name} to its --allowed-hosts"
        )
    if status != 200:
        raise UsageError(
            f"the tracking server {uri} answers {status} {answer.reason} when asked for its experiments: is it an "
            "MLflow server, and may you read them?"
        )


def _no_answer(uri: str, reason: str) -> UsageError:
    return UsageError(f"the tracking server {uri} does not answer ({reason}): start it, or change --tracking-uri")


def _innermost(error: BaseException) -> str:
    """Returns the message of the original error, which several libraries may have wrapped."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(str(error).split())


def _refuse_unusable_database(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"--tracking-uri names {path}, but the folder {folder} does not exist")
    if path.is_dir():
        raise UsageError(f"--tracking-uri names {path}, but that is a folder and not a SQLite database")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        raise UsageError(f"--tracking-uri names {path}, but MLflow cannot write there")
    if path.exists() and not _is_database(path):
        raise UsageError(f"--tracking-uri names {path}, but that file is not a SQLite database")


def _database_path(uri: str) -> Path:
    return Path(uri.removeprefix(_SQLITE).partition("?")[0])


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        # SQLite leaves a database file empty until the first table is created.
        return file.read(len(_SQLITE_MAGIC)) in (b"", _SQLITE_MAGIC)
