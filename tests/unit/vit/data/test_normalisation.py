"""The memory that measuring the normalisation takes; the tests of augmentation check its results."""

import tracemalloc

import numpy as np
import pytest

from vit.data.normalisation import measure_normalisation

MEGABYTE = 2**20


@pytest.mark.parametrize(("count", "side"), [(16, 1024), (16_384, 32)])
def test_it_takes_as_little_memory_for_large_images_as_for_small_ones(count: int, side: int) -> None:
    images = np.zeros((count, side, side, 1), np.uint8)
    images[::2] = 255
    tracemalloc.start()
    try:
        normalisation = measure_normalisation(images)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (normalisation.mean, normalisation.std) == ((0.5,), (0.5,))
    assert peak < 48 * MEGABYTE
