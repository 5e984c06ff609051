"""Several workers train one model: Ray Train starts them and keeps them alive, the loop is the same as everywhere.

The workers write the training's folder; whoever started them reads the epochs there, and steers them by a permit: the
epoch up to which they may train. So a decision takes effect at an epoch's end, and no worker is ever killed for it.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device

from pipeline.exits import PipelineError, disk_full
from pipeline.ranking import EpochRecord, Outcome, TrialRecord
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.training import LoadedData, Training, TrainingContext, TrainingData
from tune_spaces.space import TrialSpec
from vit.fit import NonFiniteLossError, Runtime
from vit.parallel import Workers
from vit.storage import Folder

PERMIT_FILE = "permit.json"
WORKERS_FILE = "workers.json"
"""Stands in the folder of the first training as soon as its workers have come up."""
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


@dataclass(frozen=True)
class Assignment:
    """A training to be done, and who is told of it."""

    spec: TrialSpec
    context: TrainingContext
    observers: Sequence[Observer] = ()

    @property
    def folder(self) -> Folder:
        return trial_folder(self.context.folder, self.spec.index)


class Crew:
    """Workers that start once and do one training after another; permits say how far each of these may go."""

    def __init__(self, assignments: Sequence[Assignment], data: SharedData, team: Team, max_failures: int) -> None:
        self._folders = [assignment.folder for assignment in assignments]
        self.error: BaseException | None = None
        """What ended the workers."""
        self._trainer = TorchTrainer(
            _work,
            train_loop_config={"work": [(each.spec.to_dict(), each.context) for each in assignments], "data": data},
            scaling_config=team.scaling,
            run_config=ray.train.RunConfig(
                name=RAY_TRAIN_FOLDER,
                storage_path=self._folders[0].uri,
                failure_config=ray.train.FailureConfig(max_failures=max_failures),
            ),
        )
        # Not in the main thread, where Ray would take Ctrl-C to itself.
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)

    def start(self) -> None:
        """Starts the workers, unless that was done before."""
        if self._thread.ident is None:
            self._folders[0].remove(WORKERS_FILE)
            self._thread.start()

    @property
    def has_come_up(self) -> bool:
        """The workers run, or have run."""
        return self._folders[0].exists(WORKERS_FILE)

    @property
    def is_over(self) -> bool:
        """No worker trains, and none will."""
        return self._thread.ident is None or not self._thread.is_alive()

    def stop(self, leaving: bool = False) -> None:
        """Ends the workers at the end of their epoch, and waits until what they held is free.

        Does not wait for workers that have not come up, and may never, where the command is `leaving` Ray anyway.
        """
        if not self.is_over:
            for folder in self._folders:
                _write_permit(folder, 0)
        while not self.is_over:
            if leaving and not self.has_come_up:
                return
            self._thread.join(SECONDS_BETWEEN_LOOKS)
        for folder in self._folders:
            folder.remove(PERMIT_FILE)
        self._folders[0].remove(WORKERS_FILE)
        self._folders[0].remove_folder(RAY_TRAIN_FOLDER)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # told to whoever asks for the next epoch
            self.error = _cause(error)


class TeamTraining:
    """A training by several workers, as seen by who started it. Goes on from the folder's last epoch."""

    def __init__(self, assignment: Assignment, crew: Crew) -> None:
        self.spec, self.crew = assignment.spec, crew
        self._folder = assignment.folder
        self.told = 0
        """Epochs that `next_epoch` has given, or that its caller knew before."""

    @property
    def history(self) -> TrialHistory:
        return TrialHistory.read(self._folder)

    def permit(self, until: int) -> None:
        """Lets the workers train to the end of epoch `until`; there they wait. Starts them the first time."""
        _write_permit(self._folder, until)
        self.crew.start()

    def next_epoch(self, wait: float) -> dict[str, Any] | None:
        """The next entry of the history, from its first; None where there is none after `wait` seconds, or no more.

        Raises:
            Exception: what ended the workers, once all epochs before are told.
        """
        deadline = time.monotonic() + wait
        while True:
            none_trains, history = self.crew.is_over, self.history
            if len(history.epochs) > self.told:
                self.told += 1
                return history.epochs[self.told - 1]
            if _is_complete(history, self.spec):
                return None
            if none_trains and self.crew.error is not None:
                raise self.crew.error
            if none_trains or time.monotonic() > deadline:
                return None
            time.sleep(SECONDS_BETWEEN_LOOKS)

    @property
    def over(self) -> bool:
        """No worker trains it, and none will."""
        return self.crew.is_over or _is_complete(self.history, self.spec)


def _is_complete(history: TrialHistory, spec: TrialSpec) -> bool:
    """There is nothing left to train."""
    return len(history.epochs) >= spec.recipe.epochs or history.diverged is not None


def _cause(error: Exception) -> Exception:
    """What ended the first worker that failed, without Ray's own wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: Exception = next(iter(failures.values()), error)
    return getattr(cause, "_base_exc", cause)


def _write_permit(folder: Folder, until: int) -> None:
    folder.write(PERMIT_FILE, json.dumps({"until": until}).encode())


def _work(config: dict[str, Any]) -> None:
    """What each worker does."""
    device, workers = get_device(), Workers.joined()
    if workers.rank == 0:
        first, context = config["work"][0]
        trial_folder(context.folder, first["index"]).write(WORKERS_FILE, b"{}")
    data = LoadedData.of(config["data"].get(), device)
    for values, context in config["work"]:
        _train(TrialSpec.from_dict(values), context, data, device, workers)


def _train(spec: TrialSpec, context: TrainingContext, data: LoadedData, device: torch.device, workers: Workers) -> None:
    folder = trial_folder(context.folder, spec.index)
    if _is_complete(TrialHistory.read(folder), spec):
        return  # by workers that died over a later one
    training = Training(spec, data, context, Runtime(device, context.precision, context.compile), workers)
    try:
        while not training.done and _permitted(training.history, folder, workers, device):
            training.run_epoch()
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
    """Look after look at the permit; -1 where there is none yet."""
    while True:
        yield int(json.loads(folder.read(PERMIT_FILE))["until"]) if folder.exists(PERMIT_FILE) else -1
        time.sleep(SECONDS_BETWEEN_LOOKS)


def run_trainings(
    assignments: Sequence[Assignment],
    data: SharedData,
    team: Team,
    max_failures: int,
    interrupted: Callable[[], bool],
) -> list[TrialRecord]:
    """Has trainings done one after another, by workers that start once; follows them on the driver.

    Goes on from what an earlier driver left. Once `interrupted()` is true, the workers stop at the end of their
    epoch, and no further training begins. What failed is tried again by the next driver, and does not keep the ones
    behind it from their turn.

    Raises:
        PipelineError: the disk is full; what was saved stands.
    """
    records: list[TrialRecord] = []
    crew: Crew | None = None
    try:
        for place, assignment in enumerate(assignments):
            ended = _ended_before(assignment)
            if ended is not None or interrupted():
                records.append(ended or TrialRecord(assignment.spec, "interrupted", ()))
                continue
            if crew is None or crew.is_over:
                waiting = [each for each in assignments[place:] if not _ledger(each).ended]
                crew = Crew(waiting, data, team, max_failures)
            records.append(_follow(assignment, crew, interrupted))
            if records[-1].outcome == "failed":
                crew.stop()
    finally:
        if crew is not None:
            crew.stop(leaving=interrupted())
    return records


def _ledger(assignment: Assignment) -> Ledger:
    return Ledger(assignment.context.folder, [assignment.spec])


def _ended_before(assignment: Assignment) -> TrialRecord | None:
    """What an earlier command has brought to its end."""
    record = _ledger(assignment).ended.get(assignment.spec.index)
    if record is not None:
        for observer in assignment.observers:
            observer.trial_restored(record)
    return record


def _follow(assignment: Assignment, crew: Crew, interrupted: Callable[[], bool]) -> TrialRecord:
    """Follows a training to its end."""
    spec, observers, training = assignment.spec, assignment.observers, TeamTraining(assignment, crew)
    ledger = _ledger(assignment)
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
    if outcome == "interrupted":
        crew.stop(leaving=True)  # whatever ends it, its epochs are whole before they are told
    record = TrialRecord(spec, outcome, tuple(epochs), error)
    if outcome != "failed":
        ledger.end(record)
    for observer in observers:
        observer.trial_ended(record)
    return record


def _followed(
    training: TeamTraining, observers: Sequence[Observer], interrupted: Callable[[], bool]
) -> Iterator[EpochRecord]:
    """The epochs, those of earlier drivers too, as they stand in the folder."""
    training.permit(training.spec.recipe.epochs)
    refused: set[str] = set()
    stopping = False
    while (entry := training.next_epoch(SECONDS_BETWEEN_LOOKS)) or not training.over:
        if interrupted() and not stopping:
            stopping = True
            training.permit(0)
        if stopping and not training.crew.has_come_up:
            return  # and may never: the cluster may have no room
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
