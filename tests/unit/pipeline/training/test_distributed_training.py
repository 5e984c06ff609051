"""Tests how a driver follows workers and whether it reuses them; other tests run the workers with Ray Train."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.train.torch import TorchTrainer

from pipeline.training import distributed_training
from pipeline.training.distributed_training import Assignment, DistributedTraining
from pipeline.training.driver_loop import _followed
from pipeline.training.instruction import STARTS_FILE, Instruction
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData, WorkerGroup, WorkerGroupConfig
from pipeline.trials.folder import TrialHistory
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe


@pytest.mark.parametrize(("starts", "sound"), [(0, True), (1, True), (2, False)])
def test_workers_that_came_up_again_have_used_up_failures_of_the_next_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: int, sound: bool
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(TorchTrainer, "fit", lambda trainer: ended.wait())
    config = WorkerGroupConfig(1, 1, cpus=1, gpus=0, folder=str(tmp_path), max_failures=1)
    workers = WorkerGroup(SharedData(None), config)
    assert workers.is_sound
    spec = TrialSpec(0, ViTConfig(), Recipe(), seed=0)
    workers.instruct(Instruction(spec, TrainingContext(str(tmp_path), "fp32", compile=False), until=1))
    (folder,) = tmp_path.iterdir()
    (folder / STARTS_FILE).write_text(str(starts))
    assert workers.is_sound == sound
    ended.set()
    workers.stop()
    assert not workers.is_sound


def test_an_epoch_written_between_two_looks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This matters most for the last epoch: without it, a finished training would count as interrupted."""
    ended = threading.Event()
    monkeypatch.setattr(TorchTrainer, "fit", lambda trainer: ended.wait())
    assignment = Assignment(
        TrialSpec(0, ViTConfig(), Recipe(epochs=1), seed=0), TrainingContext(str(tmp_path), "fp32", compile=False)
    )
    config = WorkerGroupConfig(1, 1, cpus=1, gpus=0, folder=str(tmp_path), max_failures=0)
    workers = WorkerGroup(SharedData(None), config)
    training = DistributedTraining(assignment, workers)
    looks = []

    def look(wait: float) -> dict[str, Any] | None:
        looks.append(wait)
        entry = DistributedTraining.next_epoch(training, 0)
        if len(looks) == 1:
            history = TrialHistory()
            history.add(1, 0, {"val/accuracy": 0.5, "val/loss": 1.0})
            history.write(assignment.folder)
        return entry

    monkeypatch.setattr(training, "next_epoch", look)
    assert [epoch.number for epoch in _followed(training, (), lambda: False)] == [1]
    ended.set()
    workers.stop()


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DistributedTraining]:
    """A training of two epochs, whose workers are being started until the test ends."""
    ended = threading.Event()
    monkeypatch.setattr(TorchTrainer, "fit", lambda trainer: ended.wait())
    spec = TrialSpec(0, ViTConfig(), Recipe(epochs=2), seed=0)
    config = WorkerGroupConfig(1, 1, cpus=1, gpus=0, folder=f"{tmp_path}/workers", max_failures=0)
    workers = WorkerGroup(SharedData(None), config)
    (tmp_path / "workers").mkdir()
    assignment = Assignment(spec, TrainingContext(f"{tmp_path}/trials", "fp32", compile=False))
    write_epochs(assignment.folder, 1)  # written by an earlier command's workers
    yield DistributedTraining(assignment, workers)
    ended.set()
    workers.stop()


def write_epochs(folder: Folder, count: int) -> None:
    history = TrialHistory()
    for number in range(1, count + 1):
        history.add(number, 0, {"val/accuracy": 0.5, "val/loss": 1.0})
    history.write(folder)


class Clock:
    """Stands in for the module `time`: a sleep only moves the clock forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Noting(Observer):
    def __init__(self) -> None:
        self.news: list[str] = []

    def workers_started(self, spec: TrialSpec) -> None:
        self.news.append("workers")

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self.news.append(f"epoch {epoch.number}")


def test_workers_are_told_of_when_they_have_come_up_and_not_before(
    training: DistributedTraining, tmp_path: Path
) -> None:
    """An epoch that an earlier command trained does not show that this command's workers have started."""
    observer = Noting()
    followed = _followed(training, [observer], lambda: False)
    assert next(followed).number == 1
    assert observer.news == ["epoch 1"]
    (group,) = (tmp_path / "workers").iterdir()
    (group / STARTS_FILE).write_text("1")
    write_epochs(training._assignment.folder, 2)
    assert [epoch.number for epoch in followed] == [2]
    assert observer.news == ["epoch 1", "workers", "epoch 2"]


def noting_when(ask: Callable[[Folder, str], Any], looks: list[float], clock: Clock) -> Callable[[Folder, str], Any]:
    def noted(folder: Folder, name: str) -> Any:
        looks.append(clock.now)
        return ask(folder, name)

    return noted


def test_the_longer_an_epoch_takes_the_less_often_its_folder_is_read(
    training: DistributedTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an object store each look is a request, and there may be a thousand trainings."""
    clock = Clock()
    monkeypatch.setattr(distributed_training, "time", clock)
    training.permit(2)
    assert training.next_epoch(0) is not None
    training._next_look = 0.0
    looks: list[float] = []
    for name in ("read", "exists"):
        monkeypatch.setattr(Folder, name, noting_when(getattr(Folder, name), looks, clock))
    assert training.next_epoch(30) is None
    assert 15 <= len(looks) <= 20  # in 30 seconds
    pauses = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert max(pauses) < 2.3
    assert min(pauses) < 0.5
    write_epochs(training._assignment.folder, 2)
    written, asked_before = clock.now, len(looks)
    assert training.next_epoch(30) is not None
    assert clock.now - written < 2.3
    assert training.next_epoch(30) is None
    assert (training.is_over, training.history.diverged) == (True, None)
    assert len(looks) - asked_before <= 2
