"""Times the ways to compute attention, at the sequence lengths that the model has."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.setting import Item, NotAvailableError, Setting
from benchmarks.gpu.table import Figure, Measured
from benchmarks.gpu.timing import timed_calls
from vit.model.layers import scaled_dot_product

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
HEADS, WIDTH = 3, 64
UNAVAILABLE = ("No available kernel", "No viable backend")
"""How torch's error begins where a backend does not support these tensors."""
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def attention_backends(setting: Setting) -> Iterator[Item]:
    for tokens in (64, 65):
        for name, backend in BACKENDS.items():
            yield Item(f"{name}, {tokens} tokens", partial(_by_backend, setting, tokens, backend))
        by_hand = partial(scaled_dot_product, use_fused_kernel=False)
        yield Item(f"written out, {tokens} tokens", partial(_times, setting, tokens, by_hand))


def _by_backend(setting: Setting, tokens: int, backend: SDPBackend) -> Measured:
    with sdpa_kernel(backend), warnings.catch_warnings(record=True) as reasons:
        warnings.simplefilter("always")
        try:
            return _times(setting, tokens, F.scaled_dot_product_attention)
        except RuntimeError as error:
            if not str(error).startswith(UNAVAILABLE):
                raise
            why = "; ".join(str(reason.message).partition(" (Triggered")[0] for reason in reasons[-1:])
            raise NotAvailableError(f"{error} {why}".strip()) from error


def _times(setting: Setting, tokens: int, attention: Attention) -> Measured:
    """Times attention over a batch, with queries, keys and values in the layout that they have in the model."""
    batch, dtype = setting.scale.batch, torch.bfloat16 if setting.precision == "bf16" else torch.float32
    projected = torch.randn(batch, tokens, 3, HEADS, WIDTH, device=setting.device, dtype=dtype, requires_grad=True)
    query, key, value = projected.permute(2, 0, 3, 1, 4)
    gradient = torch.ones(batch, HEADS, tokens, WIDTH, device=setting.device, dtype=dtype)

    def both() -> None:
        torch.autograd.grad(attention(*projected.permute(2, 0, 3, 1, 4)), projected, gradient)

    with torch.no_grad():
        forward = timed_calls(lambda: attention(query, key, value), setting.device, setting.scale.rounds)
    all_of_it = timed_calls(both, setting.device, setting.scale.rounds)
    figures = (
        Figure("forward", 1e6 * forward.seconds, "µs"),
        Figure("forward and backward", 1e6 * all_of_it.seconds, "µs"),
    )
    return Measured(figures, forward.n, f"batch {batch}, {HEADS} heads of {WIDTH}, {setting.precision}")
