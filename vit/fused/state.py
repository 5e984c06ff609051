"""What fused trainings have learnt so far: one row of numbers each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from vit.fused.layout import Layout


@dataclass(frozen=True)
class State:
    """Of K trainings of a layout of P numbers, of which M are Muon's. A step changes the tensors in place."""

    weights: Tensor
    """float32 (K, P)"""
    average: Tensor
    """(K, P): the weights that count; where a recipe averages nothing, the same as `weights`."""
    first_moment: Tensor
    """AdamW's, (K, P - M)."""
    second_moment: Tensor
    momentum: Tensor
    """Muon's, (K, M)."""
    step: Tensor
    """int64 (): steps done, the same of all."""

    @staticmethod
    def start(weights: Tensor, layout: Layout) -> "State":
        """Before the first step."""
        count, muon = len(weights), layout.num_muon
        rest, momentum = weights.new_zeros(count, layout.size - muon), weights.new_zeros(count, muon)
        step = torch.zeros((), dtype=torch.int64, device=weights.device)
        return State(weights, weights.clone(), rest, rest.clone(), momentum, step)

    def kept(self, rows: Tensor) -> "State":
        """Of some of the trainings, in copies."""
        return State(*(tensor[rows] if tensor.ndim else tensor for tensor in self))

    @staticmethod
    def joined(states: Sequence["State"]) -> "State":
        """Of all their trainings, which must have done as many steps."""
        by_field = zip(*states, strict=True)
        return State(*(torch.cat(tensors) if tensors[0].ndim else tensors[0] for tensors in by_field))

    def to(self, device: torch.device) -> "State":
        return State(*(tensor.to(device) for tensor in self))

    def __iter__(self) -> Iterator[Tensor]:
        return (getattr(self, field.name) for field in fields(self))
