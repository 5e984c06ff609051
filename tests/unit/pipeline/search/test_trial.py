"""Tests of a trial without Ray: how it handles a lack of memory, and what it takes and frees of a GPU."""

import weakref
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from pipeline.search import trial as trial_module
from pipeline.search.trial import Trial
from pipeline.training.training import TrainingContext, TrainingData
from pipeline.training.worker_group import SharedData
from tests.unit.pipeline.training.test_training import DATA, SPECS
from vit.data.arrays import ImageArrays
from vit.training.fit import Fit
from vit.training.runtime import Split

SPEC = SPECS["better"]
CONFIG = {"trial": SPEC.to_dict()}
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Images(SharedData):
    """Returns its data directly, without Ray's object store."""

    def get(self) -> TrainingData:
        return DATA


def started(base: Path, gpus: float = 0) -> Trial:
    trial = Trial.__new__(Trial)  # Tune's own constructor would need folders and a logger
    trial.setup(CONFIG, Images(None), TrainingContext(str(base), "fp32", compile=False, gpus=gpus))
    return trial


def out_of_memory(*anything: object) -> NoReturn:
    raise torch.OutOfMemoryError(FULL)


@pytest.fixture
def cpu_for_gpu(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Lets the CPU stand in for a GPU; returns the list to which each requested share of its memory is added."""
    shares: list[float] = []
    monkeypatch.setattr(TrainingContext, "device", torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    return shares


def test_a_trial_that_breaks_off_has_let_its_model_go_before_the_memory_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch frees no memory that is still referenced, so the other trials on a GPU could not use it."""
    trial = started(tmp_path)
    assert trial.step()["epoch"] == 1
    assert trial._training is not None
    assert isinstance(trial._training._fit, Fit)
    model = weakref.ref(trial._training._fit.model)
    alive: list[bool] = []
    monkeypatch.setattr(Fit, "_validate", out_of_memory)
    monkeypatch.setattr(trial_module, "_give_back_gpu_memory", lambda: alive.append(model() is not None))
    report = trial.step()
    assert (report["ended"], report["done"]) == ({"outcome": "failed", "error": f"out of memory: {FULL}"}, True)
    assert report["epoch"] == 2  # it failed after one complete epoch
    assert alive == [False]


def test_images_that_the_device_cannot_hold_are_the_trials_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not count as a crash of its process, which would be retried as often as a process may crash."""
    with monkeypatch.context() as patch:
        patch.setattr(Split, "of", out_of_memory)
        trial = started(tmp_path)
        assert trial.step()["ended"] == {"outcome": "failed", "error": f"out of memory: {FULL}"}
    assert trial.reset_config(CONFIG)
    assert trial.step()["epoch"] == 1  # the next trial may have enough memory


class Neighbours:
    """Other trials on the same GPU, which leave too little memory for the first `refusals` loads of the images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
        self.refusals, self._load = refusals, Split.of
        monkeypatch.setattr(Split, "of", self.load)

    def load(self, arrays: ImageArrays, device: torch.device) -> Split:
        if self.refusals:
            self.refusals -= 1
            out_of_memory()
        return self._load(arrays, device)


@pytest.mark.parametrize(("gpus", "refusals", "fails"), [(0.5, 1, False), (0.5, 2, True), (1, 1, True), (0, 1, True)])
def test_on_a_shared_gpu_a_trial_without_memory_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu_for_gpu: list[float], gpus: float, refusals: int, fails: bool
) -> None:
    neighbours = Neighbours(monkeypatch, refusals)
    trial = started(tmp_path, gpus)
    assert ("ended" in trial.step()) == fails
    assert neighbours.refusals == 0
    neighbours.refusals = int(gpus == 0.5)  # the next trial in this process may be retried once, too
    trial._data = None
    trial.reset_config(CONFIG)
    assert "ended" not in trial.step()


def test_another_try_goes_on_from_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu_for_gpu: list[float]
) -> None:
    trial = started(tmp_path, gpus=0.5)
    trial.step()
    validate, calls = Fit._validate, iter([out_of_memory])
    monkeypatch.setattr(Fit, "_validate", lambda fit: next(calls, validate)(fit))
    again = trial.step()
    assert [again["epoch"], trial.step()["epoch"]] == [1, 2]  # epoch 1 is reported again, and the driver skips it


@pytest.mark.parametrize(("gpus", "shares"), [(0, []), (0.25, [0.25]), (1, []), (2, [])])
def test_trials_that_share_a_gpu_share_its_memory(
    tmp_path: Path, cpu_for_gpu: list[float], gpus: float, shares: list[float]
) -> None:
    started(tmp_path, gpus).step()
    assert cpu_for_gpu == shares


def test_without_gpus_a_trial_leaves_the_machines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Fit, "_update", lambda *arguments: None)  # torch's own optimizer would query the GPU
    trial = started(tmp_path, gpus=0)
    report: dict[str, Any] = trial.step()
    assert report["epoch"] == 1
    assert trial._training is not None
    assert isinstance(trial._training._fit, Fit)
    assert trial._training._fit.runtime.device == torch.device("cpu")
    assert {parameter.device.type for parameter in trial._training._fit.model.parameters()} == {"cpu"}
