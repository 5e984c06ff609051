"""Lays out the parameters of a model in one row of numbers, so that an update of all of them is one operation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vit.training.optim import block_matrices, parameter_groups
from vit.training.recipes import OptimizerName


@dataclass(frozen=True)
class Matrices:
    """Matrices of one shape (rows, columns) that lie one after the other in a row, from index `start` on."""

    start: int
    count: int
    rows: int
    columns: int

    @property
    def stop(self) -> int:
        return self.start + self.count * self.rows * self.columns


@dataclass(frozen=True)
class Layout:
    """The order of the parameters in a row.

    First come those that Muon trains, grouped by shape; then those that AdamW trains with weight decay, then those that
    it trains without.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    matrices: tuple[Matrices, ...]
    """The matrices that Muon trains; none where AdamW trains all parameters."""
    num_decayed: int
    """How many numbers, from the start of the row, have weight decay."""

    @staticmethod
    def of(model: nn.Module, optimizer: OptimizerName) -> "Layout":
        """The layout of a `VisionTransformer`'s parameters."""
        by_shape: dict[tuple[int, int], list[tuple[Tensor, int]]] = {}
        for weight, parts in block_matrices(model) if optimizer == "muon" else []:
            by_shape.setdefault((weight.shape[0] // parts, weight.shape[1]), []).append((weight, parts))
        muon, matrices = [], list[Matrices]()
        for (rows, columns), layers in by_shape.items():
            start = matrices[-1].stop if matrices else 0
            matrices.append(Matrices(start, sum(parts for _, parts in layers), rows, columns))
            muon += [weight for weight, _ in layers]
        groups = parameter_groups(model, 1.0, {id(weight) for weight in muon})
        decayed, plain = (list[Tensor](group["params"]) for group in groups)  # type: ignore[call-overload]
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        ordered = [*muon, *decayed, *plain]
        return Layout(
            tuple(names[id(parameter)] for parameter in ordered),
            tuple(parameter.shape for parameter in ordered),
            tuple(matrices),
            sum(parameter.numel() for parameter in [*muon, *decayed]),
        )

    @property
    def num_muon(self) -> int:
        """How many numbers, from the start of the row, Muon trains."""
        return self.matrices[-1].stop if self.matrices else 0

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return sum(shape.numel() for shape in self.shapes)

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """Views of the parameters in a row (size,), by name."""
        parts = row.split([shape.numel() for shape in self.shapes])
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def row(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """A row (size,) float32 with copies of the parameters, which are given by name."""
        return torch.cat([parameters[name].detach().float().flatten() for name in self.names])
