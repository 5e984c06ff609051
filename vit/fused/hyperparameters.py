"""The hyperparameters that may differ between fused trainings, each as a tensor with one value per training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vit.training.recipes import Recipe


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of K trainings; each tensor is (K,)."""

    learning_rate: Tensor
    """float64, because the plain loop computes its schedule in that precision."""
    warmup_epochs: Tensor
    """float64"""
    falls_linearly: Tensor
    """bool: whether the learning rate falls in a straight line rather than as half a cosine."""
    weight_decay: Tensor
    label_smoothing: Tensor
    clip_grad: Tensor
    """Infinite where nothing is clipped."""
    ema_decay: Tensor
    """0 where the average is the weights themselves."""

    @staticmethod
    def of(recipes: Sequence[Recipe], device: torch.device) -> "Hyperparameters":
        def tensor(values: list[float], dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        return Hyperparameters(
            tensor([recipe.learning_rate for recipe in recipes], torch.float64),
            tensor([recipe.warmup_epochs for recipe in recipes], torch.float64),
            tensor([recipe.schedule == "linear" for recipe in recipes], torch.bool),
            tensor([recipe.weight_decay for recipe in recipes]),
            tensor([recipe.label_smoothing for recipe in recipes]),
            tensor([recipe.clip_grad or math.inf for recipe in recipes]),
            tensor([recipe.ema_decay for recipe in recipes]),
        )

    def learning_rates(self, step: Tensor, steps_per_epoch: int, epochs: int) -> Tensor:
        """`vit.training.optim.learning_rate_at` of each training, float64 (K,), without reading `step` on the host."""
        total = epochs * steps_per_epoch
        warmup = (self.warmup_epochs * steps_per_epoch).clamp(max=total)
        rising = ((step + 1) / warmup).clamp(max=1.0)  # not used where there is no warm-up
        progress = ((step - warmup) / (total - warmup).clamp(min=1)).clamp(max=1.0)
        left = torch.where(self.falls_linearly, 1 - progress, 0.5 * (1 + (math.pi * progress).cos()))
        return self.learning_rate * torch.where(step < warmup, rising, left)
