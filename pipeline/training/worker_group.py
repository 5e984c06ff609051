"""Runs a group of workers, which Ray Train starts once and keeps alive for one training after another."""

import threading
import uuid
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

from pipeline.training.instruction import INSTRUCTION_FILE, POLL_SECONDS, Instruction, count_starts
from pipeline.training.training import TrainingData
from pipeline.training.worker_loop import train_as_instructed
from vit.files.storage import Folder


@dataclass(frozen=True)
class WorkerGroupConfig:
    """How many workers one training has, the resources and the folder that they get, and how often they may fail."""

    fewest: int
    most: int
    """If more than `fewest`, Ray starts as many workers as fit, and adapts their number as the cluster changes."""
    cpus: float
    gpus: float
    folder: str
    """Path or URI under which each group has a folder with Ray Train's own files and the driver's instructions."""
    max_failures: int
    """How often a training is resumed after its workers have died."""

    @property
    def scaling(self) -> ray.train.ScalingConfig:
        return ray.train.ScalingConfig(
            num_workers=self.fewest if self.fewest == self.most else (self.fewest, self.most),  # type: ignore[arg-type]
            use_gpu=self.gpus > 0,
            resources_per_worker={"CPU": self.cpus, "GPU": self.gpus},
        )


@dataclass(frozen=True)
class SharedData:
    """Training data in Ray's object store: each node holds one copy, which all workers there read."""

    reference: Any

    @staticmethod
    def put(data: TrainingData) -> "SharedData":
        return SharedData(ray.put(data))

    def get(self) -> TrainingData:
        data: TrainingData = ray.get(self.reference)
        return data


class _Trainer(TorchTrainer):
    """Starts no process for Ray Data sets: no training has any, and on two cores, its imports take seconds.

    Ray Train has no setting for that. If another version names its parts differently, it starts that process again.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]
        return [callback for callback in callbacks if type(callback).__name__ != "DatasetsCallback"]


class WorkerGroup:
    """Workers that are started once, at the first instruction, and do one training after another."""

    def __init__(self, data: SharedData, config: WorkerGroupConfig) -> None:
        name = uuid.uuid4().hex
        self._folder = Folder(f"{config.folder}/{name}")
        self.error: BaseException | None = None
        """The error that ended the workers, if any."""
        self._trainer = _Trainer(
            train_as_instructed,
            train_loop_config={"group_folder": self._folder.uri, "data": data},
            scaling_config=config.scaling,
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=config.folder,
                failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            ),
        )
        # Not in the main thread, where Ray would handle Ctrl-C itself.
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)

    def instruct(self, instruction: Instruction) -> None:
        """Makes the workers train this, and nothing else, to the end of the epoch that it names, where they wait."""
        instruction.write(self._folder)
        if self._thread.ident is None:
            self._thread.start()

    @property
    def starts(self) -> int:
        """How many times the workers have started; they start again after a death, or when the cluster changes."""
        return count_starts(self._folder)

    @property
    def is_sound(self) -> bool:
        """Whether the group can take another training with all of its `max_failures` left.

        This requires that it has neither ended nor ever restarted.
        """
        return self._thread.ident is None or (not self.is_over and self.starts <= 1)

    @property
    def is_over(self) -> bool:
        """Whether no worker trains: none has been instructed yet, or the group has ended."""
        return self._thread.ident is None or not self._thread.is_alive()

    def dismiss(self) -> None:
        """Makes the workers end after their current epoch."""
        self._folder.remove(INSTRUCTION_FILE)

    def stop(self, leaving: bool = False) -> None:
        """Dismisses the workers, and waits until their resources are free.

        If the command is `leaving` Ray anyway, does not wait for workers that have not started, and may never start.
        """
        self.dismiss()
        while not self.is_over and not (leaving and self.starts == 0):
            self._thread.join(POLL_SECONDS)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # `DistributedTraining.next_epoch` raises it
            self.error = _cause(error)


def _cause(error: Exception) -> Exception:
    """Returns the error of the first worker that failed, without Ray's own wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: Exception = next(iter(failures.values()), error)
    return getattr(cause, "_base_exc", cause)
