"""Which number format trains faster here: found by measuring, since one without hardware can be 400 times slower."""

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


# Less is not worth the coarser numbers.
WORTHWHILE_SPEEDUP = 1.15


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Matrix products in bf16 where the precision says so; weights, sums and norms stay fp32."""
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    return context


def faster_precision(config: ViTConfig, batch_size: int, device: torch.device) -> Precision:
    """`bf16` where a training step of this model is clearly faster in it on this device, else `fp32`.

    Takes about a second; both formats in turn, the best of a few rounds each.
    """
    if _product_seconds(torch.bfloat16, device) > 1.5 * _product_seconds(torch.float32, device):
        return "fp32"  # no hardware for it: a whole step would take minutes
    best = dict.fromkeys(PRECISIONS, float("inf"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = VisionTransformer(config).to(device)
        images = torch.randn(min(batch_size, 64), config.in_chans, config.img_size, config.img_size, device=device)
        for _ in range(ROUNDS + 1):  # the first round also warms up; it never is the best
            for precision in PRECISIONS:
                best[precision] = min(best[precision], _step_seconds(model, images, precision))
    return "bf16" if best["fp32"] > WORTHWHILE_SPEEDUP * best["bf16"] else "fp32"


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
    """Without the build's suffix (+cu130): another version may train to other numbers."""
    return torch.__version__.partition("+")[0]
