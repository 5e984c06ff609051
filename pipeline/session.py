"""What the parts of one command share: its configuration, its tools, and what it remembers from run to run."""

import json
import shlex
import socket
import sys
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from mlflow.exceptions import MlflowException
from rich.console import Console

from pipeline.artifacts import ArtifactMaker
from pipeline.cluster import connected
from pipeline.config import CommandConfig, experiment_name, resolve_tracking_uri
from pipeline.ddp import RAY_TRAIN_FOLDER
from pipeline.exits import PipelineError, UsageError, disk_full
from pipeline.fingerprint import fingerprint
from pipeline.interrupt import Interrupt
from pipeline.lock import locked
from pipeline.tracking import DatasetReference, Tracker, TrackingError
from pipeline.tracking_server import refuse_unreachable
from vit.data import Dataset, load_dataset
from vit.storage import Folder

C = TypeVar("C", bound=CommandConfig)
S = TypeVar("S", bound="Session[Any]")

SESSION_FILE = "session.json"
PROBE_FILE = "probe"


class Session(ABC, Generic[C]):
    """One command under way, over a folder of its own. Made by `open_session`.

    The folder's name tells what is computed, so the same command again finds it and goes on.
    """

    kind: ClassVar[str]
    """`pipeline.kind` of its run, and the key of it."""
    command: ClassVar[str]

    def __init__(self, config: C, console: Console, dataset: Dataset, folder: str) -> None:
        self.config, self.console, self.dataset, self.folder = config, console, dataset, folder
        self.name = folder.rpartition("/")[2]
        self.interrupt = Interrupt()
        self.model_name = experiment_name(dataset.name)
        self._memory = self._recall()
        self._lock = threading.RLock()
        """Over what stages side by side would do twice."""
        uri = resolve_tracking_uri(config.tracking_uri)
        self.tracker = Tracker(uri, self.model_name, self.owner, config.tracking_timeout)
        self.artifacts = ArtifactMaker()
        self.seconds: dict[str, float] = {}
        """Wall time of each stage so far, and of Ray's start."""

    @classmethod
    @abstractmethod
    def identity(cls, config: C, dataset: Dataset) -> dict[str, Any]:
        """All that decides what is computed, besides the images.

        Raises:
            UsageError: the configuration does not fit the data set.
        """

    @abstractmethod
    def start_run(self) -> None:
        """Begins its MLflow run, once the cluster is known.

        Raises:
            UsageError: the cluster has no room for it.
        """

    @abstractmethod
    def end_run(self) -> None:
        """Ends it: all went well."""

    @property
    def owner(self) -> str:
        """The random id of this folder's runs."""
        return str(self._memory["id"])

    @property
    def trials_folder(self) -> str:
        return f"{self.folder}/trials"

    @property
    def dataset_reference(self) -> DatasetReference:
        return DatasetReference(self.dataset.name, self.dataset.digest, self.dataset.source)

    @property
    def run_tags(self) -> dict[str, str]:
        return {
            "pipeline.kind": self.kind,
            "pipeline.command": self.command_line,
            "pipeline.folder": self.folder,
            "pipeline.host": socket.gethostname(),
            "pipeline.data_digest": self.dataset.digest,
        }

    @property
    def command_line(self) -> str:
        return shlex.join(["python", "-m", self.command, *sys.argv[1:]])

    def say(self, line: str) -> None:
        self.console.out(line, highlight=False)

    def _recall(self) -> dict[str, Any]:
        """What this folder's commands agreed on; its random id keeps its runs apart from all others."""
        folder = Folder(self.folder)
        if folder.exists(SESSION_FILE):
            memory: dict[str, Any] = json.loads(folder.read(SESSION_FILE))
            return memory
        memory = {"id": uuid.uuid4().hex, "forced": self.config.forced}
        folder.write(SESSION_FILE, json.dumps(memory).encode())
        return memory

    def forget(self) -> None:
        """Removes the folder if nothing was computed in it: for commands that only ask."""
        if "finished" not in self._memory:
            parent, _, name = self.folder.rpartition("/")
            Folder(parent).remove_folder(name)

    def remembered(self, name: str) -> Any:
        """What an earlier command over this folder remembered, else None."""
        return self._memory.get(name)

    def remember(self, name: str, value: Any) -> None:
        """Keeps a plain value for the next command over this folder."""
        with self._lock:
            self._memory[name] = value
            Folder(self.folder).write(SESSION_FILE, json.dumps(self._memory).encode())


@contextmanager
def open_session(kind: type[S], config: Any, console: Console) -> Iterator[S]:
    """Checks what can be refused, cheapest first; nothing is written before, and no Ray is started.

    Raises:
        DataError, UsageError, PipelineError: before any run is written.
    """
    refuse_unreachable(resolve_tracking_uri(config.tracking_uri))
    dataset = load_dataset(config.data)
    identity = {**kind.identity(config, dataset), "digest": dataset.digest}
    folder = f"{absolute(config.storage)}/{kind.kind}-{dataset.name}-{fingerprint(identity, digits=8)}"
    with _usable(folder):
        folder = _newest(folder, config.forced)
    with locked(folder):
        _refuse_unwritable(folder)
        session = kind(config, console, dataset, folder)
        try:
            yield session
        except UsageError:
            session.forget()  # or the next command would go on in a folder where nothing was begun
            raise
        finally:
            session.artifacts.close()


def _newest(folder: str, forced: str | None) -> str:
    """The folder to go on in: the newest of its name, or a new one where all is to be computed anew.

    What was begun anew, and has not finished, goes on as well.
    """
    number, memory = 0, None
    while (found := Folder(_numbered(folder, number + 1))).exists(SESSION_FILE):
        number, memory = number + 1, json.loads(found.read(SESSION_FILE))
    if memory is None:
        return folder
    if forced is None or (memory.get("forced") == forced and not memory.get("finished")):
        return _numbered(folder, number)
    return _numbered(folder, number + 1)


def _numbered(folder: str, number: int) -> str:
    return folder if number == 1 else f"{folder}-{number}"


@contextmanager
def under_way(session: Session[Any], dashboard: bool = False) -> Iterator[None]:
    """Starts or joins Ray and begins the session's run; ends it whatever happens, and says how to go on."""
    started = time.perf_counter()
    with connected(session.config.address, dashboard):
        session.seconds["ray"] = time.perf_counter() - started
        with session.interrupt.handled():
            try:
                session.remember("finished", False)
                session.remember("forced", session.config.forced)
                session.start_run()
                yield
                session.end_run()
                session.tracker.close()
                session.remember("finished", True)
            except BaseException as error:
                _mark_unfinished(session, error)
                if not isinstance(error, UsageError):  # the same command would be refused again
                    session.say(f"to go on: {session.command_line}")
                session.console.quiet = True  # stages that are still on their way out have nothing to add
                if isinstance(error, MlflowException):  # of a question that did not go through the tracker's queue
                    raise TrackingError(f"{session.tracker.uri} fails: {error}") from error
                raise
            finally:
                with suppress(OSError):  # what stays, `pipeline.doctor` finds
                    Folder(session.folder).remove_folder(RAY_TRAIN_FOLDER)


def _mark_unfinished(session: Session[Any], error: BaseException) -> None:
    by_user = session.interrupt.requested or isinstance(error, KeyboardInterrupt)
    if by_user:
        session.tracker.end_open_runs("KILLED", {"pipeline.stopped": "interrupted"})
    else:
        session.tracker.end_open_runs("FAILED", {"pipeline.error": f"{type(error).__name__}: {error}"})
    try:
        session.tracker.close(min(20, session.config.tracking_timeout))
    except PipelineError as lost:
        session.say(f"warning: {lost}")


@contextmanager
def _usable(folder: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ImportError, ValueError) as error:  # no bucket or key; no client for this kind; no such kind
        if disk_full(error):
            raise
        raise UsageError(f"--storage leads to {folder}, which cannot be used: {error}") from error


def _refuse_unwritable(folder: str) -> None:
    with _usable(folder):
        place = Folder(folder)
        place.write(PROBE_FILE, b"room for this?")
        place.remove(PROBE_FILE)


def absolute(storage: str) -> str:
    """A storage as all processes can name it: trials run in other folders, on other nodes too."""
    return storage.rstrip("/") if "://" in storage else str(Path(storage).resolve())
