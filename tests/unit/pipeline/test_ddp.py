"""When workers take another training; what they do with it is tested where Ray Train runs them."""

import threading
from pathlib import Path
from typing import Any

import pytest
from ray.train.torch import TorchTrainer

from pipeline.ddp import RAY_TRAIN_FOLDER, STARTS_FILE, Assignment, Crew, SharedData, Team, TeamTraining, _followed
from pipeline.trials.folder import TrialHistory
from pipeline.trials.training import TrainingContext
from tune_spaces.space import TrialSpec
from vit.model import ViTConfig
from vit.recipes import Recipe


@pytest.mark.parametrize(("starts", "sound"), [(0, True), (1, True), (2, False)])
def test_workers_that_came_up_again_have_used_up_failures_of_the_next_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: int, sound: bool
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(TorchTrainer, "fit", lambda trainer: ended.wait())
    crew = Crew(SharedData(None), Team(1, 1, cpus=1, gpus=0, folder=str(tmp_path), max_failures=1))
    assert crew.is_sound
    spec = TrialSpec(0, ViTConfig(), Recipe(), seed=0)
    crew.order(Assignment(spec, TrainingContext(str(tmp_path), "fp32", compile=False)), until=1)
    (folder,) = (tmp_path / RAY_TRAIN_FOLDER).iterdir()
    (folder / STARTS_FILE).write_text(str(starts))
    assert crew.is_sound == sound
    ended.set()
    crew.stop()
    assert not crew.is_sound


def test_an_epoch_that_is_written_between_two_looks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one above all: without it, a training that has finished would count as interrupted."""
    ended = threading.Event()
    monkeypatch.setattr(TorchTrainer, "fit", lambda trainer: ended.wait())
    assignment = Assignment(
        TrialSpec(0, ViTConfig(), Recipe(epochs=1), seed=0), TrainingContext(str(tmp_path), "fp32", compile=False)
    )
    crew = Crew(SharedData(None), Team(1, 1, cpus=1, gpus=0, folder=str(tmp_path), max_failures=0))
    training = TeamTraining(assignment, crew)
    looks = []

    def look(wait: float) -> dict[str, Any] | None:
        looks.append(wait)
        entry = TeamTraining.next_epoch(training, 0)
        if len(looks) == 1:
            history = TrialHistory()
            history.add(1, 0, {"val/accuracy": 0.5, "val/loss": 1.0}, [[1]])
            history.write(assignment.folder)
        return entry

    monkeypatch.setattr(training, "next_epoch", look)
    assert [epoch.number for epoch in _followed(training, (), lambda: False)] == [1]
    ended.set()
    crew.stop()
