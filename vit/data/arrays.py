"""The types that every reader of images returns: the arrays of one split, the splits of a source, and their shape."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = ("train", "test")
"""The splits that every source has, in this order; validation is cut from train."""


class DataError(ValueError):
    """The data cannot be used. The message is one line for the user and names the path or value and the rule."""


@dataclass(frozen=True)
class ImageArrays:
    """Images of one split and their labels."""

    images: NDArray[np.uint8]
    """(N, H, W, C), C being 1 (grey) or 3 (RGB)."""
    labels: NDArray[np.int64]
    """(N,), indices into the data set's class names."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> "ImageArrays":
        """A copy of the images and labels at `indices`."""
        return ImageArrays(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Splits:
    """The splits that a source holds, before validation is cut from train."""

    name: str
    train: ImageArrays
    test: ImageArrays
    class_names: tuple[str, ...]
    mirror_safe: bool
    """Whether a mirrored image keeps its label."""
    source: str
    """Where the images came from, for the records."""


@dataclass(frozen=True)
class DataShape:
    """What a model must know about a data set."""

    img_size: int
    in_chans: int
    num_classes: int
    mirror_safe: bool
    """Whether a mirrored image keeps its label; where it does not, no recipe and no trial flips it."""
