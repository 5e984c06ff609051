"""Normalises images by the mean and standard deviation of each channel, which it also measures."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PIXELS_AT_ONCE = 4_000_000
"""How many pixels are counted at a time: their copy as int64 takes 32 MB."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, on the scale 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Maps uint8 (N, H, W, C) to normalised float32 (N, C, H, W)."""
        return self.on(images.device)(images)

    def on(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The same for many calls on one device: the numbers are copied only once, since the host waits for a copy."""
        mean = torch.tensor(self.mean, device=device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=device).view(-1, 1, 1)
        return lambda images: (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def measure_normalisation(images: np.ndarray) -> Normalisation:
    """Per-channel statistics of uint8 images (N, H, W, C); a constant channel gets a standard deviation of 1."""
    channels = range(images.shape[-1])
    # By a histogram, which is exact and needs no float copy of the data set; in slices, since bincount copies to int64.
    step = max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    slices = [images[start : start + step] for start in range(0, len(images), step)]
    counts = [
        np.sum([np.bincount(part[..., channel].reshape(-1), minlength=256) for part in slices], axis=0)
        for channel in channels
    ]
    # Computed in whole levels, in which a constant channel's mean, and so its variance of 0, is exact.
    levels = np.arange(256)
    means = [float(count @ levels / count.sum()) for count in counts]
    variances = [float(count @ (levels - mean) ** 2 / count.sum()) for count, mean in zip(counts, means, strict=True)]
    stds = [math.sqrt(variance) / 255 or 1.0 for variance in variances]
    return Normalisation(tuple(mean / 255 for mean in means), tuple(stds))
