"""A command's beginning and end: what is refused before anything is written, and what an end of any kind leaves."""

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
    """Checks what can be refused, cheapest first; nothing is written before, and no Ray is started.

    Raises:
        DataError, UsageError, PipelineError: before any run is written.
    """
    refuse_unreachable(resolve_tracking_uri(config.tracking_uri))
    dataset = load_dataset(config.data)
    if config.tta == "flip" and not dataset.mirror_safe:
        raise UsageError(f"--tta is flip, but must be none for {dataset.name}: a mirror image may be of another class")
    folder = folder_of(kind, config, dataset)
    with storage_errors(folder):
        folder = folder_to_use(folder, config.forced)
    keep_compiled_code(config)
    with locked(folder), ExitStack() as earlier:
        refuse_unwritable_storage(folder)
        session = kind(config, console, dataset, folder)
        try:
            for other in sorted(set(session.memory.trained_in.values())):  # what trains there is one command, too
                earlier.enter_context(locked(other))
            yield session
        except (MlflowException, RequestException) as error:  # of what did not go through the tracker's queue
            raise TrackingError(f"{session.tracker.uri} fails: {error}") from error
        finally:
            session.artifacts.close()
            with suppress(OSError):  # or the next command would go on in a folder where nothing was begun
                session.memory.forget()


def folder_of(kind: type[Session[Any]], config: Any, dataset: Dataset) -> str:
    """The first of the folders for what is computed, whose name tells what that is.

    Raises:
        UsageError: the configuration does not fit the data set.
    """
    identity = {**kind.identity(config, dataset), "digest": dataset.digest}
    return f"{absolute_storage(config.storage)}/{kind.kind}-{dataset.name}-{fingerprint(identity, digits=8)}"


@contextmanager
def running_command(session: Session[Any], dashboard: bool = False) -> Iterator[None]:
    """Starts or joins Ray and begins the session's run; ends it whatever happens, and says how to go on."""
    started = time.perf_counter()
    with connected(session.config.address, dashboard):
        session.ray_seconds = time.perf_counter() - started
        with session.interrupt.handled():
            try:
                session.start_run()  # what is refused here leaves no folder
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
                session.console.quiet = True  # stages that are still on their way out have nothing to add
                raise
            finally:
                with suppress(OSError):  # what stays, `pipeline.doctor` finds
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
