"""Before MLflow is asked for anything: its settings, and whether the tracking store is there and answers."""

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
    # With a server it prints two lines at the end of each run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Models are pt2: MLflow refuses one that would unpickle code.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # MLflow's own 7 retries of 120 s each keep a command waiting for many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
_ANSWER_TIMEOUT = 5.0
"""Seconds that a server has to answer."""
_EXPERIMENTS = "/api/2.0/mlflow/experiments/search"
_SQLITE = "sqlite:///"
_SQLITE_MAGIC = b"SQLite format 3\0"


def prepare_mlflow() -> None:
    """Sets MLflow up for the commands; what the user's environment says is kept. Call it before `import mlflow`."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # Its own: mlflow.pytorch sets the root's to errors when it is imported, and our warnings would go unheard.
    logging.getLogger("pipeline").setLevel(logging.WARNING)
    # These log what the caller reads anyway.
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def refuse_unreachable(uri: str) -> None:
    """Refuses a tracking URI that MLflow cannot use, in seconds and one line rather than in minutes and a traceback.

    Call `prepare_mlflow` before.

    Args:
        uri: as `pipeline.config.resolve_tracking_uri` gives it.

    Raises:
        UsageError: the server does not answer, wants a login or is no MLflow server; not a tracking URI; or a SQLite
            file that is not a database or cannot be written.
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
    """For commands that only read or change what is there: MLflow would make an empty database.

    Raises:
        UsageError: a SQLite file that does not exist.
    """
    if uri.startswith(_SQLITE) and not _database_path(uri).exists():
        raise UsageError(f"--tracking-uri is {uri}, but there is no such database: run a sweep first, or name its file")


def open_client(uri: str) -> "MlflowClient":
    """A client of the store at `uri`, which becomes MLflow's global one; call `prepare_mlflow` before.

    Raises:
        PipelineError: the store cannot be opened: its driver is missing, it does not answer, its tables are another
            version's.
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
    """A client of a store that is there already, for commands that read or change what it holds.

    Args:
        uri: as `pipeline.config.resolve_tracking_uri` gives it.

    Raises:
        UsageError: there is no such store, or it cannot be used (`refuse_unreachable`).
        PipelineError: it cannot be opened, or refuses something within the block.
    """
    prepare_mlflow()
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    # Only now: it takes seconds, which `--help` and bad usage should not.
    from mlflow.exceptions import MlflowException

    try:
        yield open_client(uri)
    except MlflowException as error:
        raise PipelineError(f"MLflow at {uri}: {error.message}") from error


@contextmanager
def database_lock(uri: str) -> Iterator[None]:
    """A lock: two processes that create the same SQLite database at once would both fail.

    Raises:
        UsageError: the database is where there are no locks.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    path = _database_path(uri)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError as error:  # a network's file system without a lock service
            raise UsageError(
                f"--tracking-uri names {path}, whose file system knows no locks ({error.strerror}): name a file on a"
                " local disk, or a server"
            ) from error
        yield
    finally:
        os.close(folder)  # and so lets go


def _refuse_unusable_server(uri: str) -> None:
    """Asks for one experiment, with the login and certificates that MLflow itself would use: `/health` has no guard."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            credentials, _EXPERIMENTS, "POST", json={"max_results": 1},
            timeout=_ANSWER_TIMEOUT, max_retries=0, raise_on_status=False,
        )  # fmt: skip
    except Exception as error:  # of requests, urllib3 or MLflow, one around the other
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
    """What is behind an error that several libraries have wrapped."""
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
        raise UsageError(f"--tracking-uri names {path}, but it cannot be written: MLflow writes there")
    if path.exists() and not _is_database(path):
        raise UsageError(f"--tracking-uri names {path}, but that file is not a SQLite database")


def _database_path(uri: str) -> Path:
    return Path(uri.removeprefix(_SQLITE).partition("?")[0])


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        # SQLite leaves a database empty until its first table.
        return file.read(len(_SQLITE_MAGIC)) in (b"", _SQLITE_MAGIC)
