"""Augmentation of whole batches on their own device: flip, rotation and shifted crop as one index map per image."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vit.training.recipes import Recipe


@dataclass(frozen=True)
class Draws:
    """What chance decided for each of N images."""

    flip: Tensor
    """bool (N,)"""
    angle: Tensor
    """float32 (N,): counter-clockwise rotation, in radians."""
    shift: Tensor
    """int64 (N, 2): how far the crop's window lies below and to the right of the image, in pixels."""

    def __getitem__(self, index: slice) -> "Draws":
        return Draws(self.flip[index], self.angle[index], self.shift[index])

    def to(self, device: torch.device) -> "Draws":
        return Draws(self.flip.to(device), self.angle.to(device), self.shift.to(device))


def draw(count: int, recipe: Recipe, generator: torch.Generator) -> Draws:
    """Draws the augmentation of `count` images, on the CPU so that every device sees the same."""
    flip = torch.rand(count, generator=generator) < (0.5 if recipe.flip else 0.0)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(recipe.rotation)
    padding = recipe.crop_padding
    shift = torch.randint(-padding, padding + 1, (count, 2), generator=generator)
    return Draws(flip, angle, shift)


def augment(images: Tensor, draws: Draws) -> Tensor:
    """Flips, rotates about the centre (nearest pixel), then shifts uint8 images (N, H, W, C); outside is black.

    Each step maps an output pixel to a source pixel, so the three are one gather. It gives what torchvision's
    `hflip`, `rotate` (its default, nearest) and a crop from the zero-padded image give one after the other.
    """
    count, height, width, channels = images.shape
    device = images.device
    row = torch.arange(height, device=device).view(1, height, 1) + draws.shift[:, 0].view(-1, 1, 1)
    column = torch.arange(width, device=device).view(1, 1, width) + draws.shift[:, 1].view(-1, 1, 1)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    y, x = row - (height - 1) / 2, column - (width - 1) / 2
    cos, sin = draws.angle.cos().view(-1, 1, 1), draws.angle.sin().view(-1, 1, 1)
    source_row = (x * sin + y * cos + (height - 1) / 2).round().long()
    source_column = (x * cos - y * sin + (width - 1) / 2).round().long()
    inside &= (source_row >= 0) & (source_row < height) & (source_column >= 0) & (source_column < width)
    source_column = torch.where(draws.flip.view(-1, 1, 1), width - 1 - source_column, source_column)
    index = (source_row * width + source_column).masked_fill(~inside, 0).view(count, height * width, 1)
    pixels = images.reshape(count, height * width, channels).gather(1, index.expand(-1, -1, channels))
    return (pixels * inside.view(count, height * width, 1)).view(count, height, width, channels)
