"""Images that are in more than one split of a data set."""

import hashlib
from dataclasses import dataclass

import numpy as np

from vit.data.dataset import Dataset


@dataclass(frozen=True)
class Duplicates:
    """Images whose exact pixels also stand in a split that is trained or chosen on."""

    test: int
    """Test images that also stand in train or validation."""
    validation: int
    """Validation images that also stand in train."""


def duplicates_across_splits(dataset: Dataset) -> Duplicates:
    """How many images of a split have exactly the pixels of one in a split before it."""
    seen = {_pixel_hash(image) for image in dataset.train.images}
    validation = [_pixel_hash(image) for image in dataset.validation.images]
    in_train = sum(pixels in seen for pixels in validation)
    seen.update(validation)
    return Duplicates(sum(_pixel_hash(image) in seen for image in dataset.test.images), in_train)


def _pixel_hash(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
