"""One command under way: its configuration, its data set, its tools."""

import socket
import threading
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from rich.console import Console

from pipeline.cluster.allotment import Allotment
from pipeline.cluster.watchdog import Watchdog
from pipeline.config import CommandConfig, experiment_name, resolve_tracking_uri
from pipeline.results.confirmation import FullLengthRun
from pipeline.session.folder import FETCHED_FOLDER, RAY_TRAIN_FOLDER, TRIALS_FOLDER, TUNE_FOLDER
from pipeline.session.lock import os_user
from pipeline.session.memory import SessionMemory
from pipeline.terminal.command_line import command_line
from pipeline.terminal.interrupt import Interrupt
from pipeline.tracking.artifacts import ArtifactMaker
from pipeline.tracking.events import DatasetReference
from pipeline.tracking.tracker import Tracker
from pipeline.tracking.weights import find_weights
from pipeline.training.precision import measure_faster_precision
from vit.data.dataset import Dataset
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.training.precision import Precision
from vit.training.recipes import Recipe

C = TypeVar("C", bound=CommandConfig)
S = TypeVar("S", bound="Session[Any]")


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
        self.memory = SessionMemory(folder, config.forced)
        self._lock = threading.RLock()
        """Over what stages side by side would do twice."""
        uri = resolve_tracking_uri(config.tracking_uri)
        try:
            self.tracker = Tracker(uri, self.model_name, self.memory.owner, config.tracking_timeout)
        except BaseException:
            self.memory.forget()
            raise
        self.artifacts = ArtifactMaker()
        self.ray_seconds: float | None = None
        """How long Ray took to start; None where the command needed none."""

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
    def trials_folder(self) -> str:
        return self.trainings_folder(TRIALS_FOLDER)

    def trainings_folder(self, name: str) -> str:
        """The folder of the trials, of the finalists or of the audit: this command's, or an earlier one's."""
        return f"{self._home_of(name)}/{name}"

    def has_trained(self, name: str) -> bool:
        """Whether there is such a folder yet."""
        return Folder(self._home_of(name)).exists(name)

    def _home_of(self, name: str) -> str:
        return self.memory.trained_in.get(name, self.folder)

    @property
    def tune_folder(self) -> str:
        return f"{self.folder}/{TUNE_FOLDER}"

    @property
    def ray_train_folder(self) -> str:
        return f"{self.folder}/{RAY_TRAIN_FOLDER}"

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
            "pipeline.os_user": os_user(),  # `mlflow.user` is the login, where there is one
            "pipeline.data_digest": self.dataset.digest,
        }

    @property
    def command_line(self) -> str:
        return command_line(self.command)

    def say(self, line: str) -> None:
        self.console.out(line, highlight=False)

    def find_weights(self, index: int, run: FullLengthRun) -> Folder:
        """The folder with the weights of a training to its full length: its own, or a copy fetched from MLflow."""
        fetched = Folder(self.folder) / FETCHED_FOLDER
        return find_weights(self.tracker.client, run.run_id, run.folder, index, run.weights_digest, fetched)

    @property
    def kept_precision(self) -> Precision | None:
        """In which this folder's trainings are, where it was found and not named; None where there are none yet."""
        kept: Precision | None = self.memory.remembered("precision")
        return kept

    def precision_for(self, model: ViTConfig, recipe: Recipe, allotment: Allotment) -> Precision:
        """What the user named, else what is faster where the training runs; it stays so when the command is run again.

        It is one choice for all that a command trains, so that its trainings compare.
        """
        if self.config.precision != "auto":
            return self.config.precision
        choice = self.kept_precision
        if choice is None:
            with Watchdog(self.config.stall_minutes, self.say):  # it waits for room, maybe for long
                choice = measure_faster_precision(
                    model, recipe.batch_size, self.config.compile, allotment, self.config.address is not None
                )
            self.memory.remember("precision", choice)
        return choice
