"""Whether fusing is worth it here: found by measuring, since it depends on the model, the device and its load."""

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
"""Of each kind in a round."""
MOST_ROUNDS = 5
ENOUGH_SECONDS = 1.0
"""Of rounds: those of a large model take long, and are steadier."""
BUSY_STEP_SECONDS = 0.1
"""A step that takes as long does not wait for its operations to be started, so there is nothing to gain."""


def fusing_gain(config: ViTConfig, recipes: Sequence[Recipe], runtime: Runtime) -> float:
    """How many times as fast these trainings are as one as they are one after the other; validation is left out.

    Both are timed in turn, on noise; where a step alone takes long, the answer is 1 without more ado. Torch's global
    generator is left as it was.
    """
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # As each would be trained, but from a start that costs no time and at a pace at which nothing diverges.
        quiet = [
            replace(each, learning_rate=1e-6, attention_init="timm", position_init="timm", patch_init="timm")
            for each in recipes
        ]
        train = random_split(config, STEPS * quiet[0].batch_size, runtime.device)
        images = (train, random_split(config, 2, runtime.device), any_normalisation(config))
        alone = training_loop(config, quiet[0], runtime, *images, seed=0)
        alone.run_epoch()  # warm-up: memory is taken, kernels are chosen or compiled
        if alone.run_epoch().train_seconds / STEPS >= BUSY_STEP_SECONDS:
            return 1.0
        fused = FusedFit(config, quiet, runtime, *images, range(len(quiet)))
        fused.run_epoch()  # warm-up
        alone.run_epoch()  # compiles again, if it compiles: for the step of the fused ones, its own was forgotten
        times = _rounds(lambda: (alone.run_epoch().train_seconds, _seconds(fused)))
    return min(seconds for seconds, _ in times) / min(seconds for _, seconds in times)


def _rounds(run: Callable[[], tuple[float, float]]) -> list[tuple[float, float]]:
    started = time.perf_counter()
    times = [run()]
    while len(times) < MOST_ROUNDS and time.perf_counter() - started < ENOUGH_SECONDS:
        times.append(run())
    return times


def _seconds(fused: FusedFit) -> float:
    """Of each training's share of an epoch."""
    outcome = fused.run_epoch()[0]
    assert isinstance(outcome, Epoch)
    return outcome.train_seconds
