"""Whether fusing is worth it here: found by measuring, since it depends on the model, the device and its load."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from vit.data.normalisation import Normalisation
from vit.fused.compiled_fit import CompiledFit
from vit.fused.fit import FusedFit
from vit.model.config import ViTConfig
from vit.training.fit import Epoch, Fit
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

STEPS = 3
"""Of each kind in a round."""
ROUNDS = 3


def fusing_gain(config: ViTConfig, recipes: Sequence[Recipe], runtime: Runtime) -> float:
    """How many times as fast these trainings are as one as they are one after the other; validation is left out.

    Both are timed in turn, on noise. Torch's global generator is left as it was.
    """
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # As each would be trained, but from a start that costs no time and at a pace at which nothing diverges.
        quiet = [
            replace(each, learning_rate=1e-6, attention_init="timm", position_init="timm", patch_init="timm")
            for each in recipes
        ]
        train, few = _noise(config, STEPS * quiet[0].batch_size, runtime), _noise(config, 2, runtime)
        normalisation = Normalisation((0.5,) * config.in_chans, (0.25,) * config.in_chans)
        one = CompiledFit if runtime.compile else Fit
        alone = one(config, quiet[0], runtime, train, few, normalisation, seed=0)
        fused = FusedFit(config, quiet, runtime, train, few, normalisation, range(len(quiet)))
        times = [(alone.run_epoch().train_seconds, _seconds(fused)) for _ in range(1 + ROUNDS)][1:]
    return min(seconds for seconds, _ in times) / min(seconds for _, seconds in times)


def _seconds(fused: FusedFit) -> float:
    """Of each training's share of an epoch."""
    outcome = fused.run_epoch()[0]
    assert isinstance(outcome, Epoch)
    return outcome.train_seconds


def _noise(config: ViTConfig, count: int, runtime: Runtime) -> Split:
    shape = (count, config.img_size, config.img_size, config.in_chans)
    images = torch.randint(256, shape, dtype=torch.uint8, device=runtime.device)
    return Split(images, torch.zeros(count, dtype=torch.int64, device=runtime.device))
