"""The filters that whiten the patches of the training images, from which a recipe may start its first layer."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vit.data.normalisation import Normalisation
from vit.training.runtime import Split

MOST_IMAGES = 2000
"""That are looked at before the first step."""
MOST_NUMBERS = 12_500_000
"""Of these images, 50 MB as float32 and four times that while it lasts: 83 images of 224 pixels in colour."""
MOST_PATCHES = 200_000
"""More would not change the covariance, and take long with large images."""
MOST_EXACT_DIMENSIONS = 1000
"""Of a patch. All directions of larger ones take minutes, and far more of them than a layer has filters."""
SMALLEST_VARIANCE = 1e-2
"""Added to each direction's, relative to white noise: the finest details of patches are noise, not to be blown up."""

Filters = Callable[[int, int], Tensor]
"""For square patches of so many pixels a side, at most so many: (filters, C, side, side)."""


def filters_for(train: Split, normalisation: Normalisation) -> Filters:
    """Whitens patches of these images; asked again, it does not look at them again."""

    @cache
    def filters(side: int, most: int) -> Tensor:
        return whitening_filters(normalisation(looked_at(train.images)).cpu(), side, most)

    return filters


def looked_at(images: Tensor) -> Tensor:
    """Those (N, H, W, C), evenly taken from all, on which patches are whitened."""
    most = max(2, min(MOST_IMAGES, MOST_NUMBERS // images[0].numel()))
    return images[:: -(-len(images) // most)]


@torch.no_grad()
def whitening_filters(images: Tensor, side: int, most: int) -> Tensor:
    """Filters (`most` or fewer, C, side, side) whose answers to the images' patches are uncorrelated and of variance 1.

    Each principal direction, most varied first, and its negative: no activation between them would lose half of it.
    `images` are normalised, (N, C, H, W), on the CPU.
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
    """Variances (D,) and directions (D, D), a column each, of centred patches (N, D), most varied first."""
    variances, directions = torch.linalg.eigh(patches.T.cov())
    return variances.flip(0), directions.flip(1)


def _leading_directions(patches: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` of them; twice as many are followed, so that the last of these come out well, too."""
    # It starts from random numbers: always the same, and none of those that the training draws.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, sizes, directions = torch.svd_lowrank(patches, q=min(2 * count, *patches.shape), niter=4)
    return sizes[:count] ** 2 / (len(patches) - 1), directions[:, :count]
