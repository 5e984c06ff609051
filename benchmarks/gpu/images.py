"""Loads the images to train on: CIFAR-10 where it is available, else random ones."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vit.data.arrays import DataError, DataShape, ImageArrays
from vit.data.normalisation import Normalisation, measure_normalisation


@dataclass(frozen=True)
class Images:
    train: ImageArrays
    validation: ImageArrays
    test: ImageArrays
    shape: DataShape
    source: str
    """Where the images come from, for the table."""
    random: bool

    @cached_property
    def normalisation(self) -> Normalisation:
        return measure_normalisation(self.train.images)


def load_images() -> Images:
    """CIFAR-10 from `$VIT_DATA_DIR` or where `vit` finds it; if it is not available, random images of its shape."""
    try:
        # Needs Pillow and pyarrow, which a machine with torch alone does not have.
        from vit.data.dataset import DataConfig, load_dataset

        data = load_dataset(DataConfig("cifar10"))
    except (ImportError, DataError) as error:
        return random_images(45_000, 5_000, 10_000, 32, str(error))
    counts = f"{len(data.train):,} + {len(data.validation):,} + {len(data.test):,}"
    return Images(data.train, data.validation, data.test, data.shape, f"{data.name}, {counts}", random=False)


def random_images(train: int, validation: int, test: int, size: int, reason: str) -> Images:
    """Random images of each split, `size` pixels wide, which a model can only memorise."""
    rng = np.random.default_rng(0)

    def arrays(count: int) -> ImageArrays:
        images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        return ImageArrays(images, rng.integers(0, 10, count))

    source = f"RANDOM, so that accuracies mean nothing ({reason})"
    shape = DataShape(size, 3, 10, mirror_safe=True)
    return Images(arrays(train), arrays(validation), arrays(test), shape, source, random=True)
