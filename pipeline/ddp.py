"""Several workers train one model: Ray Train starts them and keeps them alive, the loop is the same as everywhere.

The workers write the training's folder; whoever started them reads the epochs there, and steers them by a permit: the
epoch up to which they may train. So a decision takes effect at an epoch's end, and no worker is ever killed for it.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device

from pipeline.exits import PipelineError, disk_full
from pipeline.ledger import Ledger
from pipeline.observers import Observer
from pipeline.ranking import EpochRecord, Outcome, TrialRecord
from pipeline.training import LoadedData, Training, TrainingContext, TrainingData
from pipeline.trial_folder import TrialHistory, trial_folder
from tune_spaces.space import TrialSpec
from vit.fit import NonFiniteLossError, Runtime
from vit.parallel import Workers
from vit.storage import Folder

PERMIT_FILE = "permit.json"
RAY_TRAIN_FOLDER = "ray-train"
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Team:
    """The workers of one training, and what each takes of its node."""

    fewest: int
    most: int
    """Where more than `fewest`, Ray takes as many as there is room for, and follows the cluster as it changes."""
    cpus: float
    gpus: float

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


class TeamTraining:
    """A training by several workers, as seen by who started it. Goes on from the folder's last epoch."""

    def __init__(
        self, spec: TrialSpec, data: SharedData, context: TrainingContext, team: Team, max_failures: int
    ) -> None:
        self.spec, self.context = spec, context
        self._folder = trial_folder(context.folder, spec.index)
        self.told = 0
        """Epochs that `next_epoch` has given, or that its caller knew before."""
        self._error: BaseException | None = None
        loop = {"spec": spec.to_dict(), "data": data, "context": context}
        self._trainer = TorchTrainer(
            _work,
            train_loop_config=loop,
            scaling_config=team.scaling,
            run_config=ray.train.RunConfig(
                name=RAY_TRAIN_FOLDER,
                storage_path=self._folder.uri,
                failure_config=ray.train.FailureConfig(max_failures=max_failures),
            ),
        )
        # Not in the main thread, where Ray would take Ctrl-C to itself.
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)

    @property
    def history(self) -> TrialHistory:
        return TrialHistory.read(self._folder)

    def permit(self, until: int) -> None:
        """Lets the workers train to the end of epoch `until`; there they wait. Starts them the first time."""
        _write_permit(self._folder, until)
        if self._thread.ident is None:
            self._thread.start()

    def next_epoch(self, wait: float) -> dict[str, Any] | None:
        """The next entry of the history, from its first; None where there is none after `wait` seconds, or no more.

        Raises:
            Exception: what ended the workers, once all epochs before are told.
        """
        deadline = time.monotonic() + wait
        while True:
            over = self.over
            epochs = self.history.epochs
            if len(epochs) > self.told:
                self.told += 1
                return epochs[self.told - 1]
            if over and self._error is not None:
                raise self._error
            if over or time.monotonic() > deadline:
                return None
            time.sleep(SECONDS_BETWEEN_LOOKS)

    @property
    def over(self) -> bool:
        """No worker trains, and none will."""
        return self._thread.ident is None or not self._thread.is_alive()

    def stop(self) -> None:
        """Ends the workers at the end of their epoch, and waits until what they held is free."""
        if not self.over:
            _write_permit(self._folder, 0)
            self._thread.join()
        self._folder.remove(PERMIT_FILE)
        self._folder.remove_folder(RAY_TRAIN_FOLDER)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # told to whoever asks for the next epoch
            self._error = _cause(error)


def _cause(error: Exception) -> Exception:
    """What ended the first worker that failed, without Ray's own wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: Exception = next(iter(failures.values()), error)
    return getattr(cause, "_base_exc", cause)


def _write_permit(folder: Folder, until: int) -> None:
    folder.write(PERMIT_FILE, json.dumps({"until": until}).encode())


def _work(config: dict[str, Any]) -> None:
    """What each worker does."""
    spec, context, device = TrialSpec.from_dict(config["spec"]), config["context"], get_device()
    workers = Workers.joined()
    folder = trial_folder(context.folder, spec.index)
    runtime = Runtime(device, context.precision, context.compile)
    training = Training(spec, LoadedData.of(config["data"].get(), device), context, runtime, workers)
    try:
        while not training.done and _permitted(training.history, folder, workers, device):
            entry = training.run_epoch()
            ray.train.report({"epoch": entry["epoch"]})
    except NonFiniteLossError as error:  # on all of them at once
        training.record_divergence(str(error))


def _permitted(history: TrialHistory, folder: Folder, workers: Workers, device: torch.device) -> bool:
    """Waits for the permit to go past the epochs done; False where it is over. The first worker reads it for all."""
    done = len(history.epochs)
    for until in _permits(folder):
        agreed = workers.first(until, device)
        if agreed == 0:
            return False
        if done < agreed:
            return True
    return False


def _permits(folder: Folder) -> Iterator[int]:
    """Look after look at the permit."""
    while True:
        yield int(json.loads(folder.read(PERMIT_FILE))["until"])
        time.sleep(SECONDS_BETWEEN_LOOKS)


def run_training(training: TeamTraining, observers: list[Observer], interrupted: Callable[[], bool]) -> TrialRecord:
    """Follows a training on the driver to its end; goes on from what an earlier driver left.

    Once `interrupted()` is true, the workers stop at the end of their epoch. What failed is tried again by the next
    driver.

    Raises:
        PipelineError: the disk is full; what was saved stands.
    """
    spec = training.spec
    ledger = Ledger(training.context.folder, [spec])
    if spec.index in ledger.ended:
        for observer in observers:
            observer.trial_restored(ledger.ended[spec.index])
        return ledger.ended[spec.index]
    ledger.started(spec)
    for observer in observers:
        observer.trial_started(spec)
    try:
        epochs = list(_followed(training, observers, interrupted))
        outcome, error = _end_of(training, epochs)
    except Exception as reason:
        full = disk_full(reason)
        if full is not None:
            raise PipelineError(full) from reason
        epochs = [EpochRecord.of(entry) for entry in training.history.epochs]
        outcome, error = "failed", str(reason).strip().splitlines()[-1]
    finally:
        training.stop()
    record = TrialRecord(spec, outcome, tuple(epochs), error)
    if outcome != "failed":
        ledger.end(record)
    for observer in observers:
        observer.trial_ended(record)
    return record


def _followed(
    training: TeamTraining, observers: list[Observer], interrupted: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """The epochs, those of earlier drivers too, as they stand in the folder."""
    training.permit(training.spec.recipe.epochs)
    refused: set[str] = set()
    stopping = False
    while (entry := training.next_epoch(SECONDS_BETWEEN_LOOKS)) or not training.over:
        if interrupted() and not stopping:
            stopping = True
            training.permit(0)
        for observer in observers:
            for reason in set(training.history.refused) - refused:
                observer.checkpoint_refused(training.spec, reason)
            if entry:
                observer.epoch_done(training.spec, EpochRecord.of(entry))
        refused |= set(training.history.refused)
        if entry:
            yield EpochRecord.of(entry)


def _end_of(training: TeamTraining, epochs: list[EpochRecord]) -> tuple[Outcome, str | None]:
    if training.history.diverged is not None:
        return "diverged", training.history.diverged
    return ("finished" if len(epochs) == training.spec.recipe.epochs else "interrupted"), None
