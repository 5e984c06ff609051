"""One step of AdamW and Muon for all fused trainings together, in place."""

import math

import torch
from torch import Tensor

from vit.fused.hyperparameters import Hyperparameters
from vit.fused.layout import Layout, Matrices
from vit.fused.state import State
from vit.training.muon import MOMENTUM, orthogonalised

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""The defaults of `torch.optim.AdamW`, which the plain loop uses."""


@torch.no_grad()
def update(
    state: State,
    gradients: Tensor,
    hyperparameters: Hyperparameters,
    learning_rates: Tensor,
    layout: Layout,
    muon_dtype: torch.dtype,
) -> None:
    """Updates the weights, moments and averages, and counts the step.

    Args:
        state: the state of K trainings.
        gradients: (K, P).
        hyperparameters: those of the K trainings.
        learning_rates: float32 (K,), those of this step; 0 leaves the weights unchanged.
        layout: the layout of the P numbers.
        muon_dtype: the dtype in which Muon orthogonalises.
    """
    norms = gradients.norm(dim=1)
    gradients = gradients * (hyperparameters.clip_grad / (norms + 1e-6)).clamp(max=1.0)[:, None]  # as torch clips
    decay = 1 - learning_rates * hyperparameters.weight_decay
    state.weights[:, : layout.num_decayed].mul_(decay[:, None])
    _adamw(state, gradients[:, layout.num_muon :], learning_rates, layout.num_muon)
    if layout.matrices:
        _muon(state, gradients[:, : layout.num_muon], learning_rates, layout, muon_dtype)
    # The decay ramps up so that the average forgets the random start.
    ramp = (1 + state.step) / (10 + state.step)
    share = 1 - torch.minimum(hyperparameters.ema_decay, ramp)
    state.average.lerp_(state.weights, share[:, None])
    state.step.add_(1)


def _adamw(state: State, gradients: Tensor, learning_rates: Tensor, start: int) -> None:
    """Trains the numbers of each row from `start` on; weight decay has already been applied to them."""
    state.first_moment.lerp_(gradients, 1 - BETA1)
    state.second_moment.mul_(BETA2).add_((1 - BETA2) * gradients.square())
    steps = (state.step + 1).double()
    size = (learning_rates / (1 - BETA1**steps)).float()
    denominator = state.second_moment.sqrt() / (1 - BETA2**steps).sqrt().float() + EPSILON
    state.weights[:, start:].sub_(size[:, None] * state.first_moment / denominator)


def _muon(state: State, gradients: Tensor, learning_rates: Tensor, layout: Layout, dtype: torch.dtype) -> None:
    """Trains the numbers at the start of each row; weight decay has already been applied to them."""
    state.momentum.lerp_(gradients, 1 - MOMENTUM)
    ahead = gradients.lerp(state.momentum, MOMENTUM)
    for matrices in layout.matrices:
        part = slice(matrices.start, matrices.stop)
        direction = _orthogonalised(ahead[:, part], matrices, dtype)
        size = learning_rates * 0.2 * math.sqrt(max(matrices.rows, matrices.columns))
        state.weights[:, part].sub_(size[:, None] * direction)


def _orthogonalised(rows: Tensor, matrices: Matrices, dtype: torch.dtype) -> Tensor:
    """`rows` (K, numbers) with each matrix orthogonalised; tall matrices are transposed for it, which is cheaper."""
    stack = rows.reshape(-1, matrices.rows, matrices.columns)
    if matrices.rows > matrices.columns:
        return orthogonalised(stack.mT, dtype).mT.reshape(rows.shape)
    return orthogonalised(stack, dtype).reshape(rows.shape)
