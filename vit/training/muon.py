"""The Muon optimizer: orthogonalises each matrix of momentum, so that every direction of a layer learns equally fast.

It is that of Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), with the step size of Liu et al. 2025
(arXiv:2502.16982), with which one learning rate suits both Muon and AdamW.
"""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from vit.training.precision import Precision

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The quintic iteration's coefficients: they move all singular values into 0.7 to 1.2, fast rather than exactly."""
ITERATIONS = 5
SMALLEST_NORM = 1e-7


def muon_dtype(precision: Precision) -> torch.dtype:
    """The dtype in which the iteration runs where the model trains in this precision."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


class Muon(torch.optim.Optimizer):
    """Trains the matrices of linear layers. The matrices of a fused layer are orthogonalised separately.

    Matrices of one shape go through the iteration together, since many small products would leave a device idle.
    """

    found_inf: Tensor | None = None
    """Where it is 1, a step leaves the weights unchanged, without waiting for the device (as in the fused AdamW)."""

    def __init__(
        self, layers: Iterable[tuple[Tensor, int]], lr: float, weight_decay: float, dtype: torch.dtype
    ) -> None:
        """`layers` holds each layer's weight (parts * rows, columns) and the number of its parts.

        `dtype` is the dtype of the iteration, for which bf16 is precise enough where the device supports it.
        """
        by_parts: dict[int, list[Tensor]] = defaultdict(list)
        for weight, parts in layers:
            by_parts[parts].append(weight)
        groups = [{"params": weights, "parts": parts} for parts, weights in sorted(by_parts.items())]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        updates: dict[torch.Size, list[Tensor]] = defaultdict(list)
        targets: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for group in self.param_groups:
            for weight in group["params"]:
                update = self._with_momentum(weight).unflatten(0, (group["parts"], -1))
                matrices = weight.unflatten(0, (group["parts"], -1))
                if update.shape[1] > update.shape[2]:  # the iteration is cheaper on wide matrices
                    update, matrices = update.mT, matrices.mT
                updates[update.shape[1:]].append(update)
                targets[update.shape[1:]].append(matrices)
        lr, weight_decay = self.param_groups[0]["lr"], self.param_groups[0]["weight_decay"]
        goes_on = 1.0 if self.found_inf is None else 1.0 - self.found_inf
        for shape, matrices_of_shape in targets.items():
            orthogonal = orthogonalised(torch.cat(updates[shape]), self._dtype)
            step = goes_on * lr * 0.2 * math.sqrt(max(shape))
            parts = [len(matrices) for matrices in matrices_of_shape]
            for matrices, update in zip(matrices_of_shape, orthogonal.split(parts), strict=True):
                matrices.mul_(1.0 - goes_on * lr * weight_decay).sub_(step * update)

    def _with_momentum(self, weight: Tensor) -> Tensor:
        """Updates the gradient's moving average, and returns it with Nesterov's look-ahead."""
        assert weight.grad is not None
        gradient = weight.grad
        if self.found_inf is not None:
            gradient = torch.where(self.found_inf > 0, torch.zeros_like(gradient), gradient)
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        average: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(average, MOMENTUM)


def orthogonalised(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Matrices (N, rows <= columns, columns) with their singular values moved near 1, by Newton-Schulz in `dtype`."""
    a, b, c = COEFFICIENTS
    x = matrices.to(dtype)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)
