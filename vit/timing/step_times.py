"""Measures what a configuration costs to train, by timing a few real steps of it."""

import time
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from vit.data.normalisation import Normalisation
from vit.fused.compiled_fit import CompiledFit
from vit.fused.loop import training_loop
from vit.model.config import ViTConfig
from vit.training.evaluation import evaluation_batch
from vit.training.fit import Epoch, Fit
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

FEWEST_ROUNDS = 2
ENOUGH_SECONDS = 1.0
"""Rounds run for at least this long: a small model's step takes milliseconds, and the median of many is steadier."""


@dataclass(frozen=True)
class StepTimes:
    """How long training and validation take, as medians over a few rounds."""

    step_seconds: float
    """The time of one optimizer step with its augmentation."""
    batch_size: int
    """The images of that step: the recipe's batch size, or all images where there are fewer."""
    validation_seconds_per_image: float


def measure_step(model: ViTConfig, recipe: Recipe, runtime: Runtime, train_images: int) -> StepTimes:
    """Times whole steps of a training on `train_images` images, each followed by a validation.

    This takes about a second after the warm-up, or as long as two rounds where these take longer.
    """
    batch_size = min(recipe.batch_size, train_images)
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        epochs = _rounds(_loop(model, recipe, runtime, batch_size))
    return StepTimes(
        step_seconds=median(epoch.train_seconds for epoch in epochs),
        batch_size=batch_size,
        validation_seconds_per_image=median(
            (epoch.seconds - epoch.train_seconds) / epoch.validation.total for epoch in epochs
        ),
    )


def _loop(model: ViTConfig, recipe: Recipe, runtime: Runtime, batch_size: int) -> Fit | CompiledFit:
    """A training whose epoch is one step."""
    # Random labels teach nothing, and steps at the recipe's learning rate might spoil the weights.
    harmless = replace(recipe, learning_rate=1e-9)
    train = random_split(model, batch_size, runtime.device)
    # At most as many images as a step trains on, so that validating never takes longer than the step.
    validation = random_split(model, min(batch_size, evaluation_batch(model)), runtime.device)
    return training_loop(model, harmless, runtime, train, validation, any_normalisation(model), seed=0)


def any_normalisation(model: ViTConfig) -> Normalisation:
    return Normalisation((0.5,) * model.in_chans, (0.25,) * model.in_chans)


def random_split(model: ViTConfig, count: int, device: torch.device) -> Split:
    """Random images with random labels."""
    shape = (count, model.img_size, model.img_size, model.in_chans)
    images: Tensor = torch.randint(256, shape, dtype=torch.uint8, device=device)
    return Split(images, torch.randint(model.num_classes, (count,), device=device))


def _rounds(fit: Fit | CompiledFit) -> list[Epoch]:
    fit.run_epoch()  # warm-up: memory is allocated, kernels are chosen or compiled
    started = time.perf_counter()
    epochs: list[Epoch] = []
    while len(epochs) < FEWEST_ROUNDS or time.perf_counter() - started < ENOUGH_SECONDS:
        epochs.append(fit.run_epoch())
    return epochs
