"""Tests that corruptions are the same each time, grow with their strength, and keep the images' shape and type."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.promote.corruptions import COUNT, corrupted


def pictures(channels: int) -> NDArray[np.uint8]:
    """Returns three images (3, 32, 32, `channels`) with smooth shapes, as photographs have."""
    rows, columns = np.mgrid[0:32, 0:32]
    shapes = [128 + 100 * np.sin(rows / (3 + shift) + shift) * np.cos(columns / 4) for shift in range(3)]
    return np.repeat(np.stack(shapes)[..., None], channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_five_kinds_at_three_strengths_each_worse_than_the_one_before(channels: int) -> None:
    images = pictures(channels)
    spoiled = dict(corrupted(images))
    assert len(spoiled) == COUNT
    distance = {name: float(np.abs(changed.astype(int) - images).mean()) for name, changed in spoiled.items()}
    for kind in ("noise", "blur", "brightness", "jpeg", "rotation"):
        assert 0 < distance[f"{kind} 1"] < distance[f"{kind} 2"] < distance[f"{kind} 3"], kind
    for changed in spoiled.values():
        assert changed.shape == images.shape
        assert changed.dtype == np.uint8


def test_they_are_the_same_each_time() -> None:
    images = pictures(3)
    for (name, first), (_, second) in zip(corrupted(images), corrupted(images), strict=True):
        assert np.array_equal(first, second), name


def test_what_is_done_to_them() -> None:
    images = pictures(3)
    spoiled = dict(corrupted(images))
    np.testing.assert_allclose(spoiled["brightness 2"], 0.6 * images, atol=1)
    noise = spoiled["noise 2"].astype(int) - images
    assert noise.std() == pytest.approx(16, rel=0.05)
    assert abs(noise.mean()) < 1
    assert spoiled["blur 3"].std() < images.std()
