"""Before MLflow is asked for anything: its settings, and whether the tracking store is there and answers."""

import fcntl
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.exits import PipelineError, UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Models are pt2: MLflow refuses one that would unpickle code.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # MLflow's own 7 retries of 120 s each keep a command waiting for many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
_ANSWER_TIMEOUT = 5.0
"""Seconds that a server has to answer."""
_SQLITE = "sqlite:///"
_SQLITE_MAGIC = b"SQLite format 3\0"


def prepare_mlflow() -> None:
    """Sets MLflow up for the commands; what the user's environment says stands. Call it before `import mlflow`."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # These log what the caller is told anyway.
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def refuse_unreachable(uri: str) -> None:
    """Refuses a tracking URI that MLflow cannot use, in seconds and one line rather than in minutes and a traceback.

    Args:
        uri: as `pipeline.config.resolve_tracking_uri` gives it.

    Raises:
        UsageError: the server does not answer; not a tracking URI; or a SQLite file that is not a database or
            cannot be written.
    """
    scheme = urllib.parse.urlsplit(uri).scheme
    if scheme in ("http", "https"):
        _refuse_silent_server(uri)
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
def alone_at_the_database(uri: str) -> Iterator[None]:
    """Two processes that make the same new SQLite database at once would both fail; this lets one wait."""
    if not uri.startswith(_SQLITE):
        yield
        return
    folder = os.open(_database_path(uri).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)  # and so lets go


def _refuse_silent_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_ANSWER_TIMEOUT):
            return
    except urllib.error.HTTPError as error:
        # Below 500 (a login wanted, no such page) the server is there, and MLflow's own request says what is wrong.
        if error.code < 500:
            return
        reason = f"it answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        reason = str(error.reason)
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UsageError(f"the tracking server {uri} does not answer ({reason}): start it, or change --tracking-uri")


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
