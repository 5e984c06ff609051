"""Measures whether fusing is worth it here, since that depends on the model, the device and its load."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from vit.fused.fit import FusedFit
from vit.fused.loop import training_loop
from vit.model.config import ViTConfig
from vit.timing.step_times import any_normalisation, random_split
from vit.training.fit import Epoch
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime

STEPS = 2
"""How many steps of each kind are in a round."""
MOST_ROUNDS = 5
ENOUGH_SECONDS = 1.0
"""No further round starts after this time: the rounds of a large model take long, and vary less."""
BUSY_STEP_SECONDS = 0.1
"""A step that takes this long is not held up by the launching of its operations, so fusing would gain nothing."""


def fusing_gain(config: ViTConfig, recipes: Sequence[Recipe], runtime: Runtime) -> float:
    """How many times as fast these trainings run when fused as when run one after the other; validation is left out.

    Both kinds are timed in turn, on random images. If a step of a single training takes long, the result is 1 without
    timing fused ones. Torch's global generator is left unchanged.
    """
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # The recipes as given, but with an initialisation that takes no time and a learning rate too small to diverge.
        quiet = [
            replace(each, learning_rate=1e-6, attention_init="timm", position_init="timm", patch_init="timm")
            for each in recipes
        ]
        train = random_split(config, STEPS * quiet[0].batch_size, runtime.device)
        images = (train, random_split(config, 2, runtime.device), any_normalisation(config))
        alone = training_loop(config, quiet[0], runtime, *images, seed=0)
        alone.run_epoch()  # warm-up: memory is allocated, kernels are chosen or compiled
        if alone.run_epoch().train_seconds / STEPS >= BUSY_STEP_SECONDS:
            return 1.0
        fused = FusedFit(config, quiet, runtime, *images, range(len(quiet)))
        fused.run_epoch()  # warm-up
        alone.run_epoch()  # compiles again if it compiles, since compiling the fused step dropped its own
        times = _rounds(lambda: (alone.run_epoch().train_seconds, _seconds(fused)))
    return min(seconds for seconds, _ in times) / min(seconds for _, seconds in times)


def _rounds(run: Callable[[], tuple[float, float]]) -> list[tuple[float, float]]:
    started = time.perf_counter()
    times = [run()]
    while len(times) < MOST_ROUNDS and time.perf_counter() - started < ENOUGH_SECONDS:
        times.append(run())
    return times


def _seconds(fused: FusedFit) -> float:
    """The seconds of training an epoch, divided by the number of trainings."""
    outcome = fused.run_epoch()[0]
    assert isinstance(outcome, Epoch)
    return outcome.train_seconds
