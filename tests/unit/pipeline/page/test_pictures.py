"""Tests of images as the page shows them, decoded again."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.page.pictures import picture, picture_with_map


def decoded(uri: str) -> np.ndarray:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).astype(int)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_is_enlarged_pixel_by_pixel(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, channels)).astype(np.uint8)
    shown = decoded(picture(image))
    assert shown.shape == (144, 144, 3)
    np.testing.assert_array_equal(shown[9::18, 9::18], np.broadcast_to(image, (8, 8, 3)))


def test_a_large_image_is_made_smaller() -> None:
    assert decoded(picture(np.zeros((300, 300, 3), dtype=np.uint8))).shape == (144, 144, 3)


def test_the_map_glows_where_it_is_high() -> None:
    shown = decoded(picture_with_map(np.full((8, 8, 1), 128, dtype=np.uint8), np.array([[0.0, 0.0], [0.0, 1.0]])))
    corner, glow = shown[10, 10], shown[-10, -10]
    assert len(set(corner.tolist())) == 1  # grey
    assert glow[0] > glow[2] + 50 and glow.sum() > corner.sum()


def test_an_even_map_does_not_glow() -> None:
    shown = decoded(picture_with_map(np.full((8, 8, 1), 128, dtype=np.uint8), np.full((2, 2), 0.25)))
    assert np.ptp(shown) == 0
