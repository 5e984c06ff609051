"""Tests that a trial whose workers merely ended is started again; other tests run the workers with Ray Train."""

from pathlib import Path

import pytest
from ray.train.torch import TorchTrainer

from pipeline.search.distributed_trial import DistributedTrial
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData, WorkerGroupConfig
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe


def test_workers_that_end_without_an_error_leave_a_trial_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded as diverged, it would count as the worst, and no command would ever go on with it."""
    monkeypatch.setattr(TorchTrainer, "fit", lambda trainer: None)
    spec = TrialSpec(3, ViTConfig(), Recipe(epochs=9), seed=0)
    group = WorkerGroupConfig(2, 2, cpus=1, gpus=0, folder=str(tmp_path), max_failures=0)
    trial = object.__new__(DistributedTrial)  # without what only Tune needs
    trial.setup(
        {"trial": spec.to_dict()}, SharedData(None), TrainingContext(str(tmp_path), "fp32", compile=False), group,
        Rungs(1, 3, 9),
    )  # fmt: skip
    with pytest.raises(RuntimeError, match=r"^the workers ended before the training did$"):
        trial.step()
