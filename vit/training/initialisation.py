"""What a recipe starts the weights from, beyond timm's way; only the start differs, no parameter is added.

`mimetic`: Trockman & Kolter 2023 (arXiv:2305.09828). `sincos`: the fixed positions of MoCo v3 (arXiv:2104.02057), here
trained on. `whitening`: the first layer of airbench (Jordan 2024, arXiv:2404.00498), here trained on too.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.model.layers import Attention
from vit.model.vision_transformer import VisionTransformer
from vit.training.recipes import Recipe
from vit.training.runtime import Split

INITIALISING_IMAGES = 2000
"""At most so many are looked at before the first step, where the recipe's start depends on the images."""

MOST_WHITENED_PATCHES = 200_000
"""More would not change the covariance, and take long with large images."""
SMALLEST_VARIANCE = 1e-2
"""Added to each direction's, relative to white noise: the finest details of patches are noise, not to be blown up."""


def starting_model(
    config: ViTConfig, recipe: Recipe, seed: int, train: Split, normalisation: Normalisation
) -> VisionTransformer:
    """The model before its first step, on the CPU; torch's global generator starts from the seed for it."""
    torch.manual_seed(seed)
    model = VisionTransformer(config)
    # Evenly taken from all.
    initialise(
        model, recipe, lambda: normalisation(train.images[:: -(-len(train.labels) // INITIALISING_IMAGES)]).cpu()
    )
    return model


@torch.no_grad()
def initialise(model: VisionTransformer, recipe: Recipe, images: Callable[[], Tensor]) -> None:
    """Starts the model as the recipe says; `images` gives some training images, (N, C, H, W), normalised, on the CPU.

    It is asked for them only where the start depends on them.
    """
    if recipe.position_init == "sincos":
        positions = sincos_positions(model.config.img_size // model.config.patch_size, model.config.embed_dim)
        model.pos_embed.zero_()
        model.pos_embed[0, -len(positions) :] = positions  # the class token stands nowhere
    if recipe.attention_init == "mimetic":
        for module in model.modules():
            if isinstance(module, Attention):
                _init_mimetic(module)
    if recipe.patch_init == "whitening":
        first = next(module for module in model.patch_embed.modules() if isinstance(module, nn.Conv2d))
        filters = whitening_filters(images(), int(first.kernel_size[0]))[: len(first.weight)]
        first.weight[: len(filters)] = filters


def sincos_positions(side: int, width: int) -> Tensor:
    """Sines and cosines of row and column, (side * side, width), row by row; columns that make no four stay 0."""
    count = width // 4
    frequencies = 10_000.0 ** -(torch.arange(count) / count)
    angles = torch.arange(side).outer(frequencies)
    axis = torch.cat((angles.sin(), angles.cos()), dim=1)
    row, column = axis.repeat_interleave(side, dim=0), axis.repeat(side, 1)
    return F.pad(torch.cat((row, column), dim=1), (0, width - 4 * count))


def _init_mimetic(attention: Attention) -> None:
    """Queries match keys of their own token, and values are turned about: so trained ViTs look."""
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


def whitening_filters(images: Tensor, side: int) -> Tensor:
    """Filters (2 * directions, C, side, side) whose answers to the images' patches are uncorrelated and of variance 1.

    Each principal direction, most varied first, and its negative: no activation between them would lose half of it.
    """
    channels = images.shape[1]
    patches = F.unfold(images, side, stride=side).transpose(1, 2).reshape(-1, channels * side**2)
    patches = patches[:: -(-len(patches) // MOST_WHITENED_PATCHES)].double().cpu()
    covariance = (patches - patches.mean(dim=0)).T.cov()
    variances, directions = torch.linalg.eigh(covariance)
    filters = (directions / (variances + SMALLEST_VARIANCE).sqrt()).T.flip(0).float()
    return torch.stack((filters, -filters), dim=1).view(-1, channels, side, side)
