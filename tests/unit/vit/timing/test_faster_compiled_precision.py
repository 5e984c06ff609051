"""The choice of a number format by the time of compiled steps, which these tests set instead of measuring it."""

import weakref

import pytest
import torch

from tests.unit.vit.training.toy import CONFIG
from vit.model.config import ViTConfig
from vit.timing import faster_compiled_precision as module
from vit.timing.faster_compiled_precision import faster_compiled_precision
from vit.timing.step_times import StepTimes
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime

META = torch.device("meta")
"""A device that is not a CPU: for a CPU, it would first be measured whether bf16 is fast."""


class Memory:
    """Stands for the memory that a step takes."""


class Steps:
    """Replaces `measure_step`, on a device whose memory holds `fits` images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fits: int, fp32: float = 1.0, bf16: float = 0.5) -> None:
        self.fits, self.seconds = fits, {"fp32": fp32, "bf16": bf16}
        self.batches: list[int] = []
        self.taken: list[weakref.ref[Memory]] = []
        monkeypatch.setattr(module, "measure_step", self.measure)

    def measure(self, config: ViTConfig, recipe: Recipe, runtime: Runtime, train_images: int) -> StepTimes:
        assert not any(memory() for memory in self.taken), "the memory of an earlier try is still held"
        assert runtime.compile
        self.batches.append(recipe.batch_size)
        memory = Memory()
        self.taken.append(weakref.ref(memory))
        if recipe.batch_size > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        return StepTimes(self.seconds[runtime.precision], recipe.batch_size, 0.0)


def test_a_batch_that_does_not_fit_is_let_go_before_half_of_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, fits=300)
    assert faster_compiled_precision(CONFIG, 1024, META) == "bf16"
    assert steps.batches == [1024, 512, 256, 256]


def test_a_single_image_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Steps(monkeypatch, fits=0)
    with pytest.raises(torch.OutOfMemoryError):
        faster_compiled_precision(CONFIG, 4, META)


def test_bf16_must_be_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    Steps(monkeypatch, fits=8, fp32=1.0, bf16=0.95)
    assert faster_compiled_precision(CONFIG, 8, META) == "fp32"
