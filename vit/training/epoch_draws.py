"""Draws what is random in each epoch of a training: the order of the images and how each of them is augmented."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vit.training.augment import Draws, draw
from vit.training.recipes import Recipe


@dataclass(frozen=True)
class EpochDraws:
    """The random draws of one epoch, on the CPU."""

    dropout_seed: int
    """The seed for torch's global generator in this epoch, which dropout and stochastic depth use."""
    order: Tensor
    """int64 (N,): the indices of the images in the order in which they come."""
    augmentation: Draws
    """The augmentation of the N images, in that order."""


class Chance:
    """Draws the random numbers of one training, epoch by epoch, all from its seed."""

    def __init__(self, count: int, img_size: int, recipe: Recipe, seed: int) -> None:
        """The training has `count` images of `img_size` pixels."""
        self._count, self._img_size, self._recipe = count, img_size, recipe
        self.generator = torch.Generator().manual_seed(seed)
        """Its state is all that a training must save of this object to be resumed."""
        self._first_flips = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5

    def epoch(self, epochs_done: int) -> EpochDraws:
        """Draws the epoch that comes after the first `epochs_done` epochs."""
        dropout_seed = int(torch.randint(2**62, (), generator=self.generator))
        order = torch.randperm(self._count, generator=self.generator)
        draws = draw(self._count, self._img_size, self._recipe, self.generator)
        if self._recipe.flip_alternates:
            draws = replace(draws, flip=self._first_flips[order] ^ bool(epochs_done % 2))
        return EpochDraws(dropout_seed, order, draws)
