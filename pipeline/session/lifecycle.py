"""How a command begins and ends: what is refused before any run is written, and what is left after any kind of end."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from mlflow.exceptions import MlflowException
from requests import RequestException
from rich.console import Console

from pipeline.cluster.connection import connected
from pipeline.config import resolve_tracking_uri
from pipeline.errors import PipelineError, UsageError, without_passwords
from pipeline.graph.fingerprint import fingerprint
from pipeline.session.compiled_code import keep_compiled_code
from pipeline.session.folder import (
    RAY_TRAIN_FOLDER,
    absolute_storage,
    folder_to_use,
    refuse_unwritable_storage,
    storage_errors,
)
from pipeline.session.lock import locked
from pipeline.session.session import S, Session
from pipeline.tracking.events import TrackingError
from pipeline.tracking.server import refuse_unreachable
from vit.data.dataset import Dataset, load_dataset
from vit.files.storage import Folder


@contextmanager
def open_session(kind: type[S], config: Any, console: Console) -> Iterator[S]:
    """Yields a command's session after all checks that do not need Ray, the cheapest first.

    Until they have passed, no run is written, and Ray is not started.

    Raises:
        DataError, UsageError, PipelineError: a check failed; no run has been written.
    """
    uri = resolve_tracking_uri(config.tracking_uri)
    refuse_unreachable(uri)
    dataset = load_dataset(config.data)
    if config.tta == "flip" and not dataset.mirror_safe:
        raise UsageError(f"--tta is flip, but must be none for {dataset.name}: a mirror image may be of another class")
    folder = folder_of(kind, config, dataset)
    with storage_errors(folder):
        folder = folder_to_use(folder, config.forced)
    keep_compiled_code(config)
    with locked(folder), ExitStack() as earlier, _tracking_errors(uri):
        refuse_unwritable_storage(folder)
        session = kind(config, console, dataset, folder)
        try:
            for other in sorted(set(session.memory.trained_in.values())):  # only one command may train there, too
                earlier.enter_context(locked(other))
            yield session
        finally:
            session.artifacts.close()
            with suppress(OSError):  # otherwise the next command would continue in a folder where nothing was begun
                session.memory.remove_if_unused()


@contextmanager
def _tracking_errors(uri: str) -> Iterator[None]:
    """Turns MLflow's errors, from calls that bypass the tracker's queue, into TrackingError."""
    try:
        yield
    except (MlflowException, RequestException) as error:
        raise TrackingError(f"{without_passwords(uri)} fails: {error}") from error


def folder_of(kind: type[Session[Any]], config: Any, dataset: Dataset) -> str:
    """Returns the first of the numbered folders for a configuration; its name identifies what is computed.

    Raises:
        UsageError: the configuration does not fit the data set.
    """
    identity = {**kind.identity(config, dataset), "digest": dataset.digest}
    return f"{absolute_storage(config.storage)}/{kind.kind}-{dataset.name}-{fingerprint(identity, digits=8)}"


@contextmanager
def running_command(session: Session[Any], dashboard: bool = False) -> Iterator[None]:
    """Starts or joins Ray and begins the session's run; ends the run however the block ends.

    After an error, prints the command line that resumes the work.
    """
    started = time.perf_counter()
    with connected(session.config.address, dashboard):
        session.ray_seconds = time.perf_counter() - started
        with session.interrupt.handled():
            try:
                session.start_run()  # if this refuses the cluster, no folder is left behind
                session.memory.remember("finished", False)
                session.memory.remember("forced", session.config.forced)
                yield
                session.end_run()
                session.tracker.close()
                session.memory.remember("finished", True)
            except BaseException as error:
                _mark_unfinished(session, error)
                if not isinstance(error, UsageError):  # the same command would be refused again
                    session.say(f"to go on: {session.command_line}")
                session.console.quiet = True  # stages that are still shutting down have nothing to add
                raise
            finally:
                with suppress(OSError):  # `pipeline.doctor` finds what could not be removed
                    Folder(session.folder).remove_folder(RAY_TRAIN_FOLDER)


def _mark_unfinished(session: Session[Any], error: BaseException) -> None:
    by_user = session.interrupt.requested or isinstance(error, KeyboardInterrupt)
    if by_user:
        session.tracker.end_open_runs("KILLED", {"pipeline.stopped": "interrupted"})
    else:
        session.tracker.end_open_runs(
            "FAILED", {"pipeline.error": without_passwords(f"{type(error).__name__}: {error}")}
        )
    try:
        session.tracker.close(min(20, session.config.tracking_timeout))
    except PipelineError as lost:
        session.say(f"warning: {lost}")
