"""The formulas for the work of a forward pass compared with torch's counts, and the timing of real training steps."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import vit.timing.step_times
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.model.work import elements_per_image, flops_per_image
from vit.timing.step_times import FEWEST_ROUNDS, measure_step
from vit.training.fit import Epoch, Fit
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime

# With dropout, so that a step draws random numbers.
SMALL = ViTConfig(img_size=8, in_chans=1, embed_dim=16, num_heads=2, depth=1, proj_drop_rate=0.1, drop_path_rate=0.1)
BATCH = 32


CONFIGS = [
    ViTConfig(),
    ViTConfig(stem="conv", global_pool="avg"),
    ViTConfig(img_size=8, in_chans=1, patch_size=1, embed_dim=96, num_heads=4, depth=2, mlp_ratio=2.5),
    ViTConfig(img_size=24, patch_size=8, embed_dim=63, num_heads=3, depth=3, mlp_ratio=1.7, stem="conv"),
    ViTConfig(img_size=16, num_classes=100, patch_size=16, embed_dim=8, num_heads=1, depth=1, global_pool="avg"),
]


def model_and_two_images(config: ViTConfig) -> tuple[VisionTransformer, Tensor]:
    return VisionTransformer(config), torch.zeros(2, config.in_chans, config.img_size, config.img_size)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_arithmetic_is_what_torch_counts(config: ViTConfig) -> None:
    model, images = model_and_two_images(config)
    with FlopCounterMode(display=False) as counter:
        model(images)
    assert 2 * flops_per_image(config) == counter.get_total_flops()


class Written(TorchDispatchMode):
    """Counts the numbers that torch's operations write, each time that one is written."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func._opname not in ("_unsafe_view", "empty", "detach"):
            first = result[0] if isinstance(result, tuple) else result
            self.total += first.numel()
        return result


@pytest.mark.parametrize("config", CONFIGS[:4])
def test_the_written_numbers_are_about_what_torch_writes(config: ViTConfig) -> None:
    model, images = model_and_two_images(config)
    with torch.no_grad(), Written() as written:  # type: ignore[no-untyped-call]
        model(images)
    assert 2 * elements_per_image(config) == pytest.approx(written.total, rel=0.15)


@pytest.fixture
def epochs_run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Fit, Epoch]]:
    """The epochs that real trainings run, each with its training; timing stops after the fewest rounds."""
    monkeypatch.setattr(vit.timing.step_times, "ENOUGH_SECONDS", 0.0)
    run: list[tuple[Fit, Epoch]] = []
    real = Fit.run_epoch

    def run_epoch(fit: Fit) -> Epoch:
        # The first epoch takes the longest, as a warm-up does.
        epoch = replace(real(fit), train_seconds=9.0 - len(run), seconds=9.0 - len(run) + 0.32)
        run.append((fit, epoch))
        return epoch

    monkeypatch.setattr(Fit, "run_epoch", run_epoch)
    return run


def test_the_times_are_the_medians_after_the_warm_up(epochs_run: list[tuple[Fit, Epoch]]) -> None:
    times = measure_step(SMALL, Recipe(batch_size=BATCH), Runtime(), train_images=1000)
    assert FEWEST_ROUNDS == 2
    assert (times.step_seconds, times.batch_size) == ((8.0 + 7.0) / 2, BATCH)
    assert times.validation_seconds_per_image == pytest.approx(0.32 / BATCH)


def test_each_round_is_one_whole_step_of_the_real_training(epochs_run: list[tuple[Fit, Epoch]]) -> None:
    recipe = Recipe(batch_size=BATCH, ema_decay=0.9, clip_grad=1.0, crop_padding=1)
    measure_step(SMALL, recipe, Runtime(precision="bf16"), train_images=1000)
    assert len(epochs_run) == 1 + FEWEST_ROUNDS
    for fit, epoch in epochs_run:
        assert epoch.train.total == epoch.validation.total == BATCH
        assert (fit.model.config, fit.runtime.precision) == (SMALL, "bf16")
        assert replace(fit.recipe, learning_rate=recipe.learning_rate) == recipe


def test_large_images_are_validated_as_few_at_once_as_in_training(epochs_run: list[tuple[Fit, Epoch]]) -> None:
    large = replace(SMALL, img_size=128, patch_size=64)
    measure_step(large, Recipe(batch_size=40), Runtime(), train_images=40)
    assert {(epoch.train.total, epoch.validation.total) for _, epoch in epochs_run} == {(40, 32)}


def test_few_images_are_one_batch(epochs_run: list[tuple[Fit, Epoch]]) -> None:
    assert measure_step(SMALL, Recipe(batch_size=BATCH), Runtime(), train_images=20).batch_size == 20
    assert all(epoch.train.total == 20 for _, epoch in epochs_run)


def test_a_step_size_that_would_spoil_the_weights_does_no_harm(epochs_run: list[tuple[Fit, Epoch]]) -> None:
    measure_step(SMALL, Recipe(batch_size=BATCH, learning_rate=1e30), Runtime(), train_images=1000)
    assert len(epochs_run) == 1 + FEWEST_ROUNDS


def test_a_small_model_is_timed_more_often() -> None:
    times = measure_step(SMALL, Recipe(batch_size=BATCH), Runtime(), train_images=1000)
    assert 0 < times.step_seconds < vit.timing.step_times.ENOUGH_SECONDS
    assert times.validation_seconds_per_image > 0


def test_rounds_are_added_until_the_time_is_enough(
    epochs_run: list[tuple[Fit, Epoch]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit.timing.step_times, "ENOUGH_SECONDS", 1.0)
    measure_step(SMALL, Recipe(batch_size=BATCH), Runtime(), train_images=1000)
    assert len(epochs_run) > 1 + FEWEST_ROUNDS


def test_timing_leaves_the_random_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measure_step(SMALL, Recipe(batch_size=8), Runtime(), train_images=1000)
    assert torch.equal(torch.get_rng_state(), before)
