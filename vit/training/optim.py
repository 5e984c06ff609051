"""The optimizers, which of them trains which parameters, and the learning-rate schedule."""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from vit.model.layers import Block
from vit.training.muon import Muon
from vit.training.recipes import Recipe

NOT_DECAYED = ("pos_embed", "cls_token")


def build_optimizers(model: nn.Module, recipe: Recipe, muon_dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """The optimizers that together train the model; each parameter belongs to exactly one of them.

    Args:
        model: a `VisionTransformer`.
        recipe: names the optimizer, and gives its learning rate and weight decay.
        muon_dtype: the dtype in which Muon orthogonalises.
    """
    matrices = block_matrices(model) if recipe.optimizer == "muon" else []
    groups = parameter_groups(model, recipe.weight_decay, {id(weight) for weight, _ in matrices})
    adamw = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return [adamw, *([Muon(matrices, recipe.learning_rate, recipe.weight_decay, muon_dtype)] if matrices else [])]


def block_matrices(model: nn.Module) -> list[tuple[Tensor, int]]:
    """The weights of the blocks' linear layers, each with its number of matrices (3 for queries, keys and values)."""
    found: list[tuple[Tensor, int]] = []
    for block in model.modules():
        if isinstance(block, Block):
            layers = (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
            found += [(layer.weight, 3 if layer is block.attn.qkv else 1) for layer in layers]
    return found


def parameter_groups(model: nn.Module, weight_decay: float, left_out: Collection[int] = ()) -> list[dict[str, object]]:
    """Two groups: matrices and kernels with decay; norms, biases, positions and tokens without.

    Decay pulls towards zero, which is a prior for the weights of a linear map but not for a scale or a position
    (as in https://arxiv.org/abs/2106.10270 and timm). `left_out` holds ids of parameters that are in neither.
    """
    named = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in left_out
    ]
    plain = [p for name, p in named if p.ndim <= 1 or name.rsplit(".", 1)[-1] in NOT_DECAYED]
    plain_ids = {id(parameter) for parameter in plain}
    decayed = [parameter for _, parameter in named if id(parameter) not in plain_ids]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def learning_rate_at(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """The learning rate of optimizer step `step` (0-based): linear warm-up, then down to zero."""
    total = recipe.epochs * steps_per_epoch
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total)
    if step < warmup:
        return recipe.learning_rate * min((step + 1) / warmup, 1.0)  # a warm-up may end within a step
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    left = 1 - progress if recipe.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return recipe.learning_rate * left
