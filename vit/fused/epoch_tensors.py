"""The random draws and the counts of an epoch of fused trainings, in tensors that keep their place on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from vit.training.augment import Draws
from vit.training.epoch_draws import EpochDraws
from vit.training.metrics import Counts


@dataclass(frozen=True)
class FusedCounts:
    """The loss sums and the confusion matrices of K models."""

    loss_sum: Tensor
    """float64 (K,): the sum of the plain cross-entropy."""
    cells: Tensor
    """int64 (K, classes * classes): the confusion matrix, row by row."""

    @staticmethod
    def zero(models: int, num_classes: int, device: torch.device) -> "FusedCounts":
        cells = torch.zeros(models, num_classes**2, dtype=torch.int64, device=device)
        return FusedCounts(torch.zeros(models, dtype=torch.float64, device=device), cells)

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits (K, N, classes), labels (K, N), or (N,) where all models have the same labels."""
        labels = labels.expand(logits.shape[:2])
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        self.loss_sum.add_(losses.view(labels.shape).sum(dim=1))
        cells = labels * logits.shape[2] + logits.argmax(dim=2)
        self.cells.scatter_add_(1, cells, torch.ones_like(cells))

    def per_model(self) -> list[Counts]:
        """The counts of each model; waits for the device."""
        side = round(self.cells.shape[1] ** 0.5)
        confusions = self.cells.view(-1, side, side).clone().cpu()
        return [Counts(loss, confusion) for loss, confusion in zip(self.loss_sum.tolist(), confusions, strict=True)]


@dataclass(frozen=True)
class EpochTensors:
    """The random draws and the counts of one epoch of K trainings over N images."""

    order: Tensor
    """int64 (K, N): the order in which each training takes the images."""
    augmentation: Draws
    """The augmentation of each image; the tensors are (K, N) or (K, N, numbers per image)."""
    counts: FusedCounts
    spoiled: Tensor
    """float32 (K,): 1 for a training once a loss of this epoch was not finite; then its weights no longer change."""

    @staticmethod
    def empty(trainings: int, count: int, num_classes: int, device: torch.device) -> "EpochTensors":
        """Zeros for `begin` to fill. They are a valid order and augmentation, so a step can be compiled with them."""
        shape = (trainings, count)

        def zeros(*more: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(*shape, *more, dtype=dtype, device=device)

        draws = Draws(zeros(dtype=torch.bool), zeros(dtype=torch.float32), zeros(2), zeros(3), zeros(4))
        spoiled = torch.zeros(trainings, device=device)
        return EpochTensors(zeros(), draws, FusedCounts.zero(trainings, num_classes, device), spoiled)

    def begin(self, drawn: Sequence[EpochDraws]) -> None:
        """Starts the next epoch: copies in the random draws of each training and sets the counts to zero."""
        self.order.copy_(torch.stack([each.order for each in drawn]))
        for field in fields(Draws):
            each = [getattr(one.augmentation, field.name) for one in drawn]
            getattr(self.augmentation, field.name).copy_(torch.stack(each))
        for tensor in self.counted:
            tensor.zero_()

    @property
    def counted(self) -> tuple[Tensor, ...]:
        """The tensors that a step changes."""
        return self.counts.loss_sum, self.counts.cells, self.spoiled
