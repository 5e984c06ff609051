"""Images that are in more than one split of a data set."""

import hashlib

import numpy as np

from vit.data.dataset import Dataset


def duplicates_across_splits(dataset: Dataset) -> int:
    """How many test images have exactly the pixels of an image in train or validation."""
    seen = {_pixel_hash(image) for part in (dataset.train, dataset.validation) for image in part.images}
    return sum(_pixel_hash(image) in seen for image in dataset.test.images)


def _pixel_hash(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
