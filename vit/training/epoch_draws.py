"""What chance decides in each epoch of a training: the order of the images and how each of them is augmented."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vit.training.augment import Draws, draw
from vit.training.recipes import Recipe


@dataclass(frozen=True)
class EpochDraws:
    """What one epoch draws, on the CPU."""

    dropout_seed: int
    """From which torch's global generator starts, for dropout and stochastic depth."""
    order: Tensor
    """int64 (N,): which image comes when."""
    augmentation: Draws
    """Of N images, in that order."""


class Chance:
    """The random numbers of one training, epoch by epoch, all from its seed."""

    def __init__(self, count: int, img_size: int, recipe: Recipe, seed: int) -> None:
        """For `count` training images of `img_size` pixels."""
        self._count, self._img_size, self._recipe = count, img_size, recipe
        self.generator = torch.Generator().manual_seed(seed)
        """Its state is all that a training has to keep of this."""
        self._first_flips = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5

    def epoch(self, epochs_done: int) -> EpochDraws:
        """Draws the epoch after so many."""
        dropout_seed = int(torch.randint(2**62, (), generator=self.generator))
        order = torch.randperm(self._count, generator=self.generator)
        draws = draw(self._count, self._img_size, self._recipe, self.generator)
        if self._recipe.flip_alternates:
            draws = replace(draws, flip=self._first_flips[order] ^ bool(epochs_done % 2))
        return EpochDraws(dropout_seed, order, draws)
