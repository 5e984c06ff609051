"""When workers take another training; what they do with it is tested where Ray Train runs them."""

import threading
from pathlib import Path
from typing import Any

import pytest
from ray.train.torch import TorchTrainer

from pipeline.training.distributed_training import Assignment, DistributedTraining
from pipeline.training.driver_loop import _followed
from pipeline.training.instruction import STARTS_FILE, Instruction
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData, WorkerGroup, WorkerGroupConfig
from pipeline.trials.folder import TrialHistory
from tune_spaces.trial_spec import TrialSpec
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
    """The last one above all: without it, a training that has finished would count as interrupted."""
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
