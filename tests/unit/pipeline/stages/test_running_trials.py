"""Tests that trials train on a GPU, and test images are evaluated on one, only if GPUs are allotted."""

from pathlib import Path

import pytest
import torch

from pipeline.cluster.allotment import Allotment
from pipeline.search.search import Search
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import running_trials
from pipeline.stages.running_trials import run_trials
from pipeline.tracking.trial_runs import TrialRuns
from pipeline.training.evaluation import _evaluate
from pipeline.training.worker_group import SharedData
from pipeline.trials.folder import trial_folder
from pipeline.trials.records import TrialRecord
from tests.unit.pipeline.training.test_training import DATA, SPECS, open_training


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (0.5, "cuda"), (1, "cuda")])
def test_trials_train_where_they_were_given_room(
    session: SweepSession, monkeypatch: pytest.MonkeyPatch, gpus: float, device: str
) -> None:
    """They do not use a GPU only because there is one: `--gpus-per-trial 0` leaves it to others."""
    handed: list[Search] = []

    def note(search: Search, *others: object) -> list[TrialRecord]:
        handed.append(search)
        return []

    monkeypatch.setattr(running_trials, "run_search", note)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    session._allotment = Allotment(1, gpus, concurrent=2)
    run_trials(session, TrialRuns, session.trials_folder, session.specs[:2], session.rungs, SharedData(None))
    [search] = handed
    assert (search.context.device.type, search.context.gpus, search.allotment.gpus) == (device, gpus, gpus)


def test_without_gpus_the_test_images_are_read_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_training(tmp_path, SPECS["better"]).run_epoch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    result = _evaluate(trial_folder(str(tmp_path), 3).uri, DATA.validation, on_gpu=False, with_mirror=False)
    assert result.counts.total == len(DATA.validation.labels)
