"""The weights and optimizer states of fused trainings, in one row of numbers for each training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from vit.fused.layout import Layout


@dataclass(frozen=True)
class State:
    """The state of K trainings whose layout has P numbers, M of them Muon's. A step changes the tensors in place."""

    weights: Tensor
    """float32 (K, P)"""
    average: Tensor
    """(K, P): the averaged weights, which are validated and kept; equal to `weights` for a recipe without averaging."""
    first_moment: Tensor
    """(K, P - M): AdamW's moving average of the gradient."""
    second_moment: Tensor
    momentum: Tensor
    """(K, M): Muon's momentum."""
    step: Tensor
    """int64 (): the number of steps done, the same for all trainings."""

    @staticmethod
    def start(weights: Tensor, layout: Layout) -> "State":
        """The state before the first step."""
        count, muon = len(weights), layout.num_muon
        rest, momentum = weights.new_zeros(count, layout.size - muon), weights.new_zeros(count, muon)
        step = torch.zeros((), dtype=torch.int64, device=weights.device)
        return State(weights, weights.clone(), rest, rest.clone(), momentum, step)

    def kept(self, rows: Tensor) -> "State":
        """The state of the trainings at `rows`; all tensors but `step` are copies."""
        return State(*(tensor[rows] if tensor.ndim else tensor for tensor in self))

    @staticmethod
    def joined(states: Sequence["State"]) -> "State":
        """One state of the trainings in all `states`, which must have done the same number of steps."""
        by_field = zip(*states, strict=True)
        return State(*(torch.cat(tensors) if tensors[0].ndim else tensors[0] for tensors in by_field))

    def to(self, device: torch.device) -> "State":
        return State(*(tensor.to(device) for tensor in self))

    def __iter__(self) -> Iterator[Tensor]:
        return (getattr(self, field.name) for field in fields(self))
