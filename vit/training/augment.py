"""Augmentation of whole batches on their own device: flip, rotation and shifted crop as one index map per image."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vit.training.recipes import Recipe


@dataclass(frozen=True)
class Draws:
    """The random augmentation of each of N images."""

    flip: Tensor
    """bool (N,): whether the image is mirrored."""
    angle: Tensor
    """float32 (N,): counter-clockwise rotation, in radians."""
    shift: Tensor
    """int64 (N, 2): how far the crop's window lies below and to the right of the image, in pixels."""
    hole: Tensor
    """int64 (N, 3): top row, left column and side of the square that is blackened, in pixels; side 0 for none."""
    box: Tensor
    """int64 (N, 4): edges of the box that shows another image (`vit.training.cutmix.paste`), in pixels."""

    def each(self, change: Callable[[Tensor], Tensor]) -> "Draws":
        """These draws with each tensor changed in the same way."""
        return Draws(*(change(tensor) for tensor in (self.flip, self.angle, self.shift, self.hole, self.box)))


def draw(count: int, img_size: int, recipe: Recipe, generator: torch.Generator) -> Draws:
    """Draws the augmentation of `count` images of `img_size` pixels, on the CPU so that every device sees the same."""
    flip = torch.rand(count, generator=generator) < (0.5 if recipe.flip else 0.0)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(recipe.rotation)
    padding = recipe.crop_padding
    shift = torch.randint(-padding, padding + 1, (count, 2), generator=generator)
    holes = _draw_holes(count, img_size, recipe.cutout, generator)
    return Draws(flip, angle, shift, holes, _draw_boxes(count, img_size, recipe.cutmix, generator))


def _draw_holes(count: int, img_size: int, side: int, generator: torch.Generator) -> Tensor:
    """Draws squares around any pixel, so that some reach over the edge, for half of the images on average."""
    if not side:
        return torch.zeros(count, 3, dtype=torch.int64)
    corner = torch.randint(img_size, (count, 2), generator=generator) - side // 2
    sides = torch.where(torch.rand(count, 1, generator=generator) < 0.5, side, 0)
    return torch.cat((corner, sides), dim=1)


def _draw_boxes(count: int, img_size: int, share: float, generator: torch.Generator) -> Tensor:
    """Draws boxes for a share of the images, as CutMix does: around any point, of any area, cut off at the edges."""
    if not share:
        return torch.zeros(count, 4, dtype=torch.int64)
    half = img_size / 2 * torch.rand(count, 1, generator=generator).sqrt()
    centre = img_size * torch.rand(count, 2, generator=generator)
    box = torch.cat((centre - half, centre + half), dim=1).round().clamp(0, img_size)
    return torch.where(torch.rand(count, 1, generator=generator) < share, box, 0.0).long()


def augment(images: Tensor, draws: Draws) -> Tensor:
    """Flips, rotates about the centre (nearest pixel), shifts, then blackens a square of uint8 images (N, H, W, C).

    Pixels from outside the image are black. Each step maps an output pixel to a source pixel, so all steps together are
    one gather. The result is that of torchvision's `hflip`, `rotate` (its default, nearest), a crop from the
    zero-padded image and `erase`, one after the other.
    """
    count, height, width, channels = images.shape
    device = images.device
    row, column = torch.arange(height, device=device).view(1, -1, 1), torch.arange(width, device=device).view(1, 1, -1)
    top, left, side = draws.hole.view(-1, 3, 1, 1).unbind(dim=1)
    in_hole = (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
    row, column = row + draws.shift[:, 0].view(-1, 1, 1), column + draws.shift[:, 1].view(-1, 1, 1)
    inside = ~in_hole & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    y, x = row - (height - 1) / 2, column - (width - 1) / 2
    cos, sin = draws.angle.cos().view(-1, 1, 1), draws.angle.sin().view(-1, 1, 1)
    source_row = (x * sin + y * cos + (height - 1) / 2).round().long()
    source_column = (x * cos - y * sin + (width - 1) / 2).round().long()
    inside &= (source_row >= 0) & (source_row < height) & (source_column >= 0) & (source_column < width)
    source_column = torch.where(draws.flip.view(-1, 1, 1), width - 1 - source_column, source_column)
    index = (source_row * width + source_column).masked_fill(~inside, 0).view(count, height * width, 1)
    pixels = images.reshape(count, height * width, channels).gather(1, index.expand(-1, -1, channels))
    return (pixels * inside.view(count, height * width, 1)).view(count, height, width, channels)
