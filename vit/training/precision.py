"""Measures which number format trains faster here, since one without hardware support can be 400 times slower."""

import time
from contextlib import AbstractContextManager
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ROUNDS = 3
"""The fewest steps of each format that are timed."""
ENOUGH_SECONDS = 0.05
"""The steps of each format that are timed take at least this long in all; less would be dominated by the noise of the
clock and by a GPU's changing speed."""
IMAGES_ON_A_CPU = 64
"""The most images in a timed step on a CPU: they keep it busy, and more would only take longer."""

# fp32 means full fp32: without this, a GPU's convolutions (not its matrix products) would round to TF32.
torch.backends.cudnn.allow_tf32 = False

# A smaller speed-up is not worth the coarser numbers.
WORTHWHILE_SPEEDUP = 1.15


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """A context that runs matrix products in bf16 if asked to; weights, sums and LayerNorms stay fp32."""
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    return context


def faster_precision(config: ViTConfig, batch_size: int, device: torch.device) -> Precision:
    """`bf16` where a training step of this model is clearly faster in it on this device, else `fp32`.

    fp32 is true fp32: TF32 is off. This takes about a second on a CPU, where at most 64 images are timed. A GPU is
    given the whole batch, since with less the launching of its kernels would be timed; a batch that is too large for
    its memory is halved until it fits.
    """
    if not has_fast_bf16(device):
        return "fp32"
    if device.type == "cpu":
        batch_size = min(batch_size, IMAGES_ON_A_CPU)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = VisionTransformer(config).to(device)
        best = _best_seconds(model, config, batch_size, device)
    return "bf16" if best["fp32"] > WORTHWHILE_SPEEDUP * best["bf16"] else "fp32"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is fast enough to time a step in it.

    A step would take minutes on a CPU without hardware for it. Other devices are not tested, and the answer is True.
    """
    if device.type != "cpu":
        return True
    return _product_seconds(torch.bfloat16, device) <= 1.5 * _product_seconds(torch.float32, device)


def _best_seconds(
    model: VisionTransformer, config: ViTConfig, batch_size: int, device: torch.device
) -> dict[Precision, float]:
    """The shortest time of a training step in each format; both formats are timed in turn."""
    try:
        images = torch.randn(batch_size, config.in_chans, config.img_size, config.img_size, device=device)
        timed: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}
        for precision in PRECISIONS:
            _step_seconds(model, images, precision)  # warms up
        while any(len(steps) < ROUNDS or sum(steps) < ENOUGH_SECONDS for steps in timed.values()):
            for precision, steps in timed.items():
                steps.append(_step_seconds(model, images, precision))
        return {precision: min(steps) for precision, steps in timed.items()}
    except torch.OutOfMemoryError:
        if batch_size == 1:
            raise
    return _best_seconds(model, config, batch_size // 2, device)


def _step_seconds(model: VisionTransformer, images: torch.Tensor, precision: Precision) -> float:
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    started = _now(images.device)
    with autocast(images.device, precision):
        logits = model(images)
    F.cross_entropy(logits.float(), labels).backward()
    return _now(images.device) - started


def _product_seconds(dtype: torch.dtype, device: torch.device) -> float:
    matrix = torch.ones(256, 256, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(ROUNDS):
        started = _now(device)
        matrix @ matrix
        best = min(best, _now(device) - started)
    return best


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def torch_version() -> str:
    """The version of torch, since another may train to other numbers; without the build's suffix (such as +cu130)."""
    return torch.__version__.partition("+")[0]
