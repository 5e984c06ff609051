"""The session of a running command: its configuration, its data set, its tools."""

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
    """A running command with a folder of its own. `open_session` creates it.

    The folder's name identifies what is computed, so the same command finds it when it is given again, and resumes.
    """

    kind: ClassVar[str]
    """The value of the tag `pipeline.kind` of the command's run, and the first part of its folder's name."""
    command: ClassVar[str]

    def __init__(self, config: C, console: Console, dataset: Dataset, folder: str) -> None:
        self.config, self.console, self.dataset, self.folder = config, console, dataset, folder
        self.name = folder.rpartition("/")[2]
        self.interrupt = Interrupt()
        self.model_name = experiment_name(dataset.name)
        self.memory = SessionMemory(folder, config.forced)
        self._lock = threading.RLock()
        """Protects what stages that run side by side would otherwise do twice."""
        uri = resolve_tracking_uri(config.tracking_uri)
        try:
            self.tracker = Tracker(uri, self.model_name, self.memory.owner, config.tracking_timeout)
        except BaseException:
            self.memory.remove_if_unused()
            raise
        self.artifacts = ArtifactMaker()
        self.ray_seconds: float | None = None
        """The seconds that it took to start or join Ray; None if the command has not needed it."""

    @classmethod
    @abstractmethod
    def identity(cls, config: C, dataset: Dataset) -> dict[str, Any]:
        """Returns everything that decides what is computed, except the images.

        Raises:
            UsageError: the configuration does not fit the data set.
        """

    @abstractmethod
    def start_run(self) -> None:
        """Begins the command's MLflow run, once the cluster is known.

        Raises:
            UsageError: the cluster has no room for the command's trainings.
        """

    @abstractmethod
    def end_run(self) -> None:
        """Ends the command's run as successful."""

    @property
    def trials_folder(self) -> str:
        return self.trainings_folder(TRIALS_FOLDER)

    def trainings_folder(self, name: str) -> str:
        """Returns the folder of the trials, the finalists or the audit: this command's, or an earlier command's."""
        return f"{self._home_of(name)}/{name}"

    def has_trained(self, name: str) -> bool:
        """Whether the folder of the trials, the finalists or the audit exists yet."""
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
            "pipeline.os_user": os_user(),  # `mlflow.user` is the login at the tracking server, if it has logins
            "pipeline.data_digest": self.dataset.digest,
        }

    @property
    def command_line(self) -> str:
        return command_line(self.command)

    def say(self, line: str) -> None:
        self.console.out(line, highlight=False)

    def find_weights(self, index: int, run: FullLengthRun) -> Folder:
        """Returns the folder with the weights of a full-length training: its own, or a copy fetched from MLflow."""
        fetched = Folder(self.folder) / FETCHED_FOLDER
        return find_weights(self.tracker.client, run.run_id, run.folder, index, run.weights_digest, fetched)

    @property
    def kept_precision(self) -> Precision | None:
        """The precision that was chosen automatically for this folder's trainings; None if none has been chosen."""
        kept: Precision | None = self.memory.remembered("precision")
        return kept

    def precision_for(self, model: ViTConfig, recipe: Recipe, allotment: Allotment) -> Precision:
        """Returns the precision that the user named, else the one that is faster where the training runs.

        A command trains everything in one precision, so that its trainings can be compared; when the command is run
        again, the choice stays the same.
        """
        if self.config.precision != "auto":
            return self.config.precision
        choice = self.kept_precision
        if choice is None:
            with Watchdog(self.config.stall_minutes, self.say):  # it may have to wait long for free resources
                choice = measure_faster_precision(
                    model, recipe.batch_size, self.config.compile, allotment, self.config.address is not None
                )
            self.memory.remember("precision", choice)
        return choice
