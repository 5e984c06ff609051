"""Counts the images that are in more than one split of a data set."""

import hashlib
from dataclasses import dataclass

import numpy as np

from vit.data.dataset import Dataset


@dataclass(frozen=True)
class Duplicates:
    """How many images have exactly the pixels of one in a split that is used to train or to choose models."""

    test: int
    """Test images that are also in train or validation."""
    validation: int
    """Validation images that are also in train."""


def duplicates_across_splits(dataset: Dataset) -> Duplicates:
    """Counts the validation and test images with exactly the pixels of one in an earlier split (train is the first)."""
    seen = {_pixel_hash(image) for image in dataset.train.images}
    validation = [_pixel_hash(image) for image in dataset.validation.images]
    in_train = sum(pixels in seen for pixels in validation)
    seen.update(validation)
    return Duplicates(sum(_pixel_hash(image) in seen for image in dataset.test.images), in_train)


def _pixel_hash(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
