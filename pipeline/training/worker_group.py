"""Workers that Ray Train starts and keeps alive: once, for one training after another."""

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
    """The workers of one training, what each takes of its node, and what becomes of them."""

    fewest: int
    most: int
    """Where more than `fewest`, Ray takes as many as there is room for, and follows the cluster as it changes."""
    cpus: float
    gpus: float
    folder: str
    """Path or URI: in it, each group has a folder with Ray Train's own files and the driver's instructions."""
    max_failures: int
    """How often a training whose workers died is taken up again."""

    @property
    def scaling(self) -> ray.train.ScalingConfig:
        return ray.train.ScalingConfig(
            num_workers=self.fewest if self.fewest == self.most else (self.fewest, self.most),  # type: ignore[arg-type]
            use_gpu=self.gpus > 0,
            resources_per_worker={"CPU": self.cpus, "GPU": self.gpus},
        )


@dataclass(frozen=True)
class SharedData:
    """Training data in Ray's object store: each node holds it once, and each worker there reads that."""

    reference: Any

    @staticmethod
    def put(data: TrainingData) -> "SharedData":
        return SharedData(ray.put(data))

    def get(self) -> TrainingData:
        data: TrainingData = ray.get(self.reference)
        return data


class WorkerGroup:
    """Workers that start once, at the first instruction, and do one training after another."""

    def __init__(self, data: SharedData, config: WorkerGroupConfig) -> None:
        name = uuid.uuid4().hex
        self._folder = Folder(f"{config.folder}/{name}")
        self.error: BaseException | None = None
        """What ended the workers."""
        self._trainer = TorchTrainer(
            train_as_instructed,
            train_loop_config={"group_folder": self._folder.uri, "data": data},
            scaling_config=config.scaling,
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=config.folder,
                failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            ),
        )
        # Not in the main thread, where Ray would take Ctrl-C to itself.
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)

    def instruct(self, instruction: Instruction) -> None:
        """Has the workers train this, and nothing else, to the end of the epoch that it names; there they wait."""
        instruction.write(self._folder)
        if self._thread.ident is None:
            self._thread.start()

    @property
    def starts(self) -> int:
        """How often the workers have come up: again after a death, or where the cluster has changed."""
        return count_starts(self._folder)

    @property
    def is_sound(self) -> bool:
        """Whether it can take another training with its full allowance of failures.

        It must not have ended, nor ever restarted.
        """
        return self._thread.ident is None or (not self.is_over and self.starts <= 1)

    @property
    def is_over(self) -> bool:
        """No worker trains, and none will."""
        return self._thread.ident is None or not self._thread.is_alive()

    def dismiss(self) -> None:
        """Ends the workers at the end of their epoch."""
        self._folder.remove(INSTRUCTION_FILE)

    def stop(self, leaving: bool = False) -> None:
        """Dismisses the workers, and waits until what they held is free.

        Does not wait for workers that have not come up, and may never, where the command is `leaving` Ray anyway.
        """
        self.dismiss()
        while not self.is_over and not (leaving and self.starts == 0):
            self._thread.join(POLL_SECONDS)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # raised to whoever asks for the next epoch
            self.error = _cause(error)


def _cause(error: Exception) -> Exception:
    """What ended the first worker that failed, without Ray's own wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: Exception = next(iter(failures.values()), error)
    return getattr(cause, "_base_exc", cause)
