"""Computes filters that whiten the patches of the training images, with which a recipe may start its first layer."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vit.data.normalisation import Normalisation
from vit.training.runtime import Split

MOST_IMAGES = 2000
"""How many training images are looked at, at most."""
MOST_NUMBERS = 12_500_000
"""How many numbers these images hold, at most: 50 MB as float32, and four times that during the computation. This is 83
colour images of 224 pixels."""
MOST_PATCHES = 200_000
"""How many patches are used, at most: more would not change the covariance, and would take long with large images."""
MOST_EXACT_DIMENSIONS = 1000
"""The most numbers in a patch for which all principal directions are computed. For larger patches this would take
minutes, and give far more directions than a layer has filters."""
SMALLEST_VARIANCE = 1e-2
"""Added to the variance of each direction, where white noise has 1: the finest details of patches are noise, which
should not be amplified."""

Filters = Callable[[int, int], Tensor]
"""Takes the side of square patches in pixels and the most filters to return; returns (filters, C, side, side)."""


def filters_for(train: Split, normalisation: Normalisation) -> Filters:
    """A function that computes filters which whiten patches of these images. It computes the same filters only once."""

    @cache
    def filters(side: int, most: int) -> Tensor:
        return whitening_filters(normalisation(sampled_images(train.images)).cpu(), side, most)

    return filters


def sampled_images(images: Tensor) -> Tensor:
    """The images (N, H, W, C), evenly spaced among all, on whose patches the filters are computed."""
    most = max(2, min(MOST_IMAGES, MOST_NUMBERS // images[0].numel()))
    return images[:: -(-len(images) // most)]


@torch.no_grad()
def whitening_filters(images: Tensor, side: int, most: int) -> Tensor:
    """Filters (`most` or fewer, C, side, side) whose outputs on the images' patches are uncorrelated with variance 1.

    They are the principal directions by falling variance, each followed by its negative, so that an activation after
    them does not lose half of the information. `images` are normalised, (N, C, H, W), on the CPU.
    """
    channels = images.shape[1]
    patches = F.unfold(images, side, stride=side).transpose(1, 2).reshape(-1, channels * side**2)
    patches = patches[:: -(-len(patches) // MOST_PATCHES)].double()
    patches -= patches.mean(dim=0)
    exact = patches.shape[1] <= MOST_EXACT_DIMENSIONS
    variances, directions = _all_directions(patches) if exact else _leading_directions(patches, -(-most // 2))
    filters = (directions / (variances + SMALLEST_VARIANCE).sqrt()).T.float()
    return torch.stack((filters, -filters), dim=1).view(-1, channels, side, side)[:most]


def _all_directions(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (D,) and principal directions (D, D), as columns, of centred patches (N, D), by falling variance."""
    variances, directions = torch.linalg.eigh(patches.T.cov())
    return variances.flip(0), directions.flip(1)


def _leading_directions(patches: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` variances and directions; twice as many are computed, so that the last are accurate, too."""
    # The algorithm starts from random numbers: always the same ones, and without changing what the training draws.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, sizes, directions = torch.svd_lowrank(patches, q=min(2 * count, *patches.shape), niter=4)
    return sizes[:count] ** 2 / (len(patches) - 1), directions[:, :count]
