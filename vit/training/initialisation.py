"""Initialises the weights in the ways that a recipe may ask for beyond timm's; none of them adds a parameter.

`mimetic`: Trockman & Kolter 2023 (arXiv:2305.09828). `sincos`: the positions of MoCo v3 (arXiv:2104.02057), fixed there
but trained here. `whitening`: the first layer of airbench (Jordan 2024, arXiv:2404.00498), which is trained here too.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.model.layers import Attention
from vit.model.vision_transformer import VisionTransformer
from vit.training.recipes import Recipe
from vit.training.runtime import Split
from vit.training.whitening import Filters, filters_for


def starting_model(
    config: ViTConfig, recipe: Recipe, seed: int, train: Split, normalisation: Normalisation
) -> VisionTransformer:
    """The initialised model, on the CPU. Seeds torch's global generator with `seed` for it."""
    (model,) = starting_models(config, [(recipe, seed)], train, normalisation)
    return model


def starting_models(
    config: ViTConfig, each: Iterable[tuple[Recipe, int]], train: Split, normalisation: Normalisation
) -> list[VisionTransformer]:
    """Like `starting_model` for several recipes and seeds, which share what depends on the images alone."""
    filters, models = filters_for(train, normalisation), []
    for recipe, seed in each:
        torch.manual_seed(seed)
        models.append(VisionTransformer(config))
        initialise(models[-1], recipe, filters)
    return models


@torch.no_grad()
def initialise(model: VisionTransformer, recipe: Recipe, filters: Filters) -> None:
    """Initialises the model as the recipe says; `filters` is called only if the recipe asks for whitening."""
    if recipe.position_init == "sincos":
        positions = sincos_positions(model.config.img_size // model.config.patch_size, model.config.embed_dim)
        model.pos_embed.zero_()
        model.pos_embed[0, -len(positions) :] = positions  # the class token has no position
    if recipe.attention_init == "mimetic":
        for module in model.modules():
            if isinstance(module, Attention):
                _init_mimetic(module)
    if recipe.patch_init == "whitening":
        first = next(module for module in model.patch_embed.modules() if isinstance(module, nn.Conv2d))
        whitening = filters(int(first.kernel_size[0]), len(first.weight))
        first.weight[: len(whitening)] = whitening


def sincos_positions(side: int, width: int) -> Tensor:
    """Sines and cosines of row and column, (side * side, width), row by row; the last `width` % 4 columns are 0."""
    count = width // 4
    frequencies = 10_000.0 ** -(torch.arange(count) / count)
    angles = torch.arange(side).outer(frequencies)
    axis = torch.cat((angles.sin(), angles.cos()), dim=1)
    row, column = axis.repeat_interleave(side, dim=0), axis.repeat(side, 1)
    return F.pad(torch.cat((row, column), dim=1), (0, width - 4 * count))


def _init_mimetic(attention: Attention) -> None:
    """Starts the product of query and key weights near the identity, and that of value and projection near minus it.

    This is what the weights of trained ViTs look like.
    """
    width = attention.proj.weight.shape[0]
    query, key, value = attention.qkv.weight.view(3, width, width)
    head_width = width // attention.num_heads
    for query_head, key_head in zip(query.split(head_width), key.split(head_width), strict=True):
        left, right = _factors(0.7 * _noise(width) + 0.7 * torch.eye(width), head_width)
        query_head.copy_(left.mT)
        key_head.copy_(right)
    left, right = _factors(0.4 * _noise(width) - 0.4 * torch.eye(width), width)
    value.copy_(left.mT)
    attention.proj.weight.copy_(right.mT)


def _noise(width: int) -> Tensor:
    return torch.randn(width, width) / math.sqrt(width)


def _factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors (n, rank) and (rank, n) whose product is nearest to the matrix (n, n)."""
    left, sizes, right = torch.linalg.svd(matrix)
    roots = sizes[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]
