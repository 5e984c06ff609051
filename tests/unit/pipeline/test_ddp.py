"""When workers take another training; what they do with it is tested where Ray Train runs them."""

import threading
from pathlib import Path

import pytest
from ray.train.torch import TorchTrainer

from pipeline.ddp import RAY_TRAIN_FOLDER, STARTS_FILE, Assignment, Crew, SharedData, Team
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
