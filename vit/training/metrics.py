"""Counts of a pass over images, kept as sums so that those of batches and workers add up exactly."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Sums over images; means are taken once, at the end, so that they do not depend on the batch sizes."""

    loss_sum: float
    confusion: Tensor
    """int64 (num_classes, num_classes): rows are true classes, columns predicted ones."""

    @property
    def total(self) -> int:
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        return int(self.confusion.diagonal().sum())

    @property
    def loss(self) -> float:
        return self.loss_sum / self.total

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def class_accuracy(self) -> list[float | None]:
        """Accuracy within each true class; None for a class without images."""
        hits, totals = self.confusion.diagonal().tolist(), self.confusion.sum(dim=1).tolist()
        return [hit / total if total else None for hit, total in zip(hits, totals, strict=True)]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.loss_sum + other.loss_sum, self.confusion + other.confusion)


class Counter:
    """Collects `Counts` on the batches' device, without waiting for the device at every batch."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._num_classes = num_classes
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._cells = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits (N, num_classes), labels (N,). The loss is the plain cross-entropy."""
        self._loss_sum += F.cross_entropy(logits.float(), labels, reduction="sum")
        cells = labels * self._num_classes + logits.argmax(dim=1)
        self._cells.index_add_(0, cells, torch.ones_like(cells))

    def counts(self) -> Counts:
        confusion = self._cells.view(self._num_classes, self._num_classes).clone().cpu()
        return Counts(self._loss_sum.item(), confusion)
