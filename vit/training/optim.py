"""The optimizer's parameter groups and the learning-rate schedule."""

import math

import torch
from torch import nn

from vit.training.recipes import Recipe

NOT_DECAYED = ("pos_embed", "cls_token")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups: matrices and kernels with decay; norms, biases, positions and tokens without.

    Decay pulls towards zero, which is a prior for the weights of a linear map but not for a scale or a position
    (as in https://arxiv.org/abs/2106.10270 and timm).
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    plain = [p for name, p in named if p.ndim <= 1 or name.rsplit(".", 1)[-1] in NOT_DECAYED]
    plain_ids = {id(parameter) for parameter in plain}
    decayed = [parameter for _, parameter in named if id(parameter) not in plain_ids]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate, fused=True)


def learning_rate_at(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """The learning rate of optimizer step `step` (0-based): linear warm-up, then half a cosine to zero."""
    total = recipe.epochs * steps_per_epoch
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total)
    if step < warmup:
        return recipe.learning_rate * min((step + 1) / warmup, 1.0)  # a warm-up may end within a step
    progress = (step - warmup) / max(total - warmup, 1)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
