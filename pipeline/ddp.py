"""Several workers train one model: Ray Train starts them and keeps them alive, the loop is the same as everywhere.

The workers write the training's folder; whoever started them reads the epochs there, and steers them by an order: which
training, and up to which epoch. So a decision takes effect at an epoch's end, no worker is ever killed for it, and
workers that have ended one training take the next.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
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

RAY_TRAIN_FOLDER = "ray-train"
"""In a command's folder, while it is under way: for each crew a folder with Ray Train's own files and these."""
ORDER_FILE = "order.json"
"""Gone where there is nothing more to do."""
STARTS_FILE = "starts.json"
"""How often the workers have come up."""
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Team:
    """The workers of one training, what each takes of its node, and what becomes of them."""

    fewest: int
    most: int
    """Where more than `fewest`, Ray takes as many as there is room for, and follows the cluster as it changes."""
    cpus: float
    gpus: float
    folder: str
    """The command's (path or URI)."""
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
    """Workers that start once, at the first order, and do one training after another."""

    def __init__(self, data: SharedData, team: Team) -> None:
        name, place = uuid.uuid4().hex, f"{team.folder}/{RAY_TRAIN_FOLDER}"
        self._folder = Folder(f"{place}/{name}")
        self.error: BaseException | None = None
        """What ended the workers."""
        self._trainer = TorchTrainer(
            _work,
            train_loop_config={"orders": self._folder.uri, "data": data},
            scaling_config=team.scaling,
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=place,
                failure_config=ray.train.FailureConfig(max_failures=team.max_failures),
            ),
        )
        # Not in the main thread, where Ray would take Ctrl-C to itself.
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)

    def order(self, assignment: Assignment, until: int) -> None:
        """Has the workers train this, and nothing else, to the end of epoch `until`; there they wait."""
        order = _Order(assignment.spec.to_dict(), asdict(assignment.context), until)
        self._folder.write(ORDER_FILE, json.dumps(asdict(order)).encode())
        if self._thread.ident is None:
            self._thread.start()

    @property
    def starts(self) -> int:
        """How often the workers have come up: again after a death, or where the cluster has changed."""
        return _starts(self._folder)

    @property
    def is_sound(self) -> bool:
        """Can take another training, and has lost no worker, so that this one may lose as many as it is allowed to."""
        return self._thread.ident is None or (not self.is_over and self.starts <= 1)

    @property
    def is_over(self) -> bool:
        """No worker trains, and none will."""
        return self._thread.ident is None or not self._thread.is_alive()

    def dismiss(self) -> None:
        """Ends the workers at the end of their epoch."""
        self._folder.remove(ORDER_FILE)

    def stop(self, leaving: bool = False) -> None:
        """Dismisses the workers, and waits until what they held is free.

        Does not wait for workers that have not come up, and may never, where the command is `leaving` Ray anyway.
        """
        self.dismiss()
        while not self.is_over and not (leaving and self.starts == 0):
            self._thread.join(SECONDS_BETWEEN_LOOKS)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # told to whoever asks for the next epoch
            self.error = _cause(error)


class TeamTraining:
    """A training by several workers, as seen by who started it. Goes on from the folder's last epoch."""

    def __init__(self, assignment: Assignment, crew: Crew) -> None:
        self.spec, self.crew = assignment.spec, crew
        self._assignment = assignment
        self.told = 0
        """Epochs that `next_epoch` has given, or that its caller knew before."""

    @property
    def history(self) -> TrialHistory:
        return TrialHistory.read(self._assignment.folder)

    def permit(self, until: int) -> None:
        """Lets the workers train to the end of epoch `until`; there they wait."""
        self.crew.order(self._assignment, until)

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


@dataclass(frozen=True)
class _Order:
    """What the workers are to do, as it stands in their folder."""

    trial: dict[str, Any]
    context: dict[str, Any]
    until: int

    @property
    def folder(self) -> Folder:
        return trial_folder(self.context["folder"], self.trial["index"])


def _starts(folder: Folder) -> int:
    return int(json.loads(folder.read(STARTS_FILE))) if folder.exists(STARTS_FILE) else 0


def _work(config: dict[str, Any]) -> None:
    """What each worker does."""
    folder, device, workers = Folder(config["orders"]), get_device(), Workers.joined()
    if workers.rank == 0:
        folder.write(STARTS_FILE, json.dumps(_starts(folder) + 1).encode())
    data = LoadedData.of(config["data"].get(), device)
    task: _Task | None = None
    for order in _orders(folder, workers, device):
        if task is None or task.folder.uri != order.folder.uri:
            task = _Task(order, data, device, workers)
        if task.goes_on(order.until):
            task.run_epoch()
        else:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _orders(folder: Folder, workers: Workers, device: torch.device) -> Iterator[_Order]:
    """Look after look at the order, until it is gone. The first worker reads it for all."""
    while True:
        read = _read_order(folder) if workers.rank == 0 else None
        order = workers.first(read, device)
        if order is None:
            return
        yield order


def _read_order(folder: Folder) -> _Order | None:
    try:
        return _Order(**json.loads(folder.read(ORDER_FILE)))
    except FileNotFoundError:
        return None


class _Task:
    """A training, made when the first epoch is due: what has ended may be without the state to go on from."""

    def __init__(self, order: _Order, data: LoadedData, device: torch.device, workers: Workers) -> None:
        self.folder = order.folder
        self._spec, self._context = TrialSpec.from_dict(order.trial), TrainingContext(**order.context)
        self._data, self._device, self._workers = data, device, workers
        self._history = TrialHistory.read(self.folder)  # the same for all, for none of them writes it yet
        self._training: Training | None = None

    def goes_on(self, until: int) -> bool:
        history = self._history if self._training is None else self._training.history
        return len(history.epochs) < until and not _is_complete(history, self._spec)

    def run_epoch(self) -> None:
        if self._training is None:
            runtime = Runtime(self._device, self._context.precision, self._context.compile)
            self._training = Training(self._spec, self._data, self._context, runtime, self._workers)
        try:
            self._training.run_epoch()
        except NonFiniteLossError as error:  # on all of them at once
            self._training.record_divergence(str(error))


def run_trainings(
    assignments: Sequence[Assignment],
    data: SharedData,
    team: Team,
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
    crew = Crew(data, team)
    try:
        for assignment in assignments:
            ended = _ended_before(assignment)
            if ended is not None or interrupted():
                records.append(ended or TrialRecord(assignment.spec, "interrupted", ()))
                continue
            if not crew.is_sound:
                crew.stop()
                crew = Crew(data, team)
            records.append(_follow(assignment, crew, interrupted))
            if records[-1].outcome == "failed":
                crew.stop()
    finally:
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
    while True:
        over = training.over  # asked first: where it is, all epochs stand in the folder already
        entry = training.next_epoch(0 if over else SECONDS_BETWEEN_LOOKS)
        if entry is None and over:
            return
        if interrupted() and not stopping:
            stopping = True
            training.crew.dismiss()
        if stopping and training.crew.starts == 0:
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
