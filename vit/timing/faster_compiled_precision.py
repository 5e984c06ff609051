"""Measures which number format trains faster where the step is compiled."""

import torch

from vit.model.config import ViTConfig
from vit.timing.step_times import measure_step
from vit.training.precision import PRECISIONS, WORTHWHILE_SPEEDUP, Precision, has_fast_bf16
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime


def faster_compiled_precision(config: ViTConfig, batch_size: int, device: torch.device) -> Precision:
    """Like `faster_precision`, but times compiled steps, as will be run: uncompiled, a GPU may wait for the host.

    It compiles twice, for a minute or so each; what it compiles is reused by the training. A batch that does not fit
    into memory is halved until it does.
    """
    if not has_fast_bf16(device):
        return "fp32"
    recipe = Recipe(batch_size=batch_size)
    try:
        seconds = {
            precision: measure_step(config, recipe, Runtime(device, precision, compile=True), batch_size).step_seconds
            for precision in PRECISIONS
        }
        return "bf16" if seconds["fp32"] > WORTHWHILE_SPEEDUP * seconds["bf16"] else "fp32"
    except torch.OutOfMemoryError:
        if batch_size == 1:
            raise
    # Outside the `except`, since the error keeps the memory of the failed steps alive.
    return faster_compiled_precision(config, batch_size // 2, device)
