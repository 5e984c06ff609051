"""Decoding an image for a model gives the pixels that the model would have been trained on."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit.data.decode import EncodedImage, EncodedPart, decode_parts
from vit.data.pixels import ImageError, decode_for_model

SIDE = 8
GREY = ("1", "L", "I;16")
COLOUR = ("RGB", "RGBA", "P", "LA", "CMYK")


def _encoded(mode: str) -> bytes:
    """An encoded image of 13 x 9 pixels in a Pillow mode."""
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, (9, 13), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "tiff" if mode == "CMYK" else "png")
    return buffer.getvalue()


def _trained_on(*contents: bytes) -> np.ndarray:
    """The pixels of these images as a data set for training has them."""
    images = [EncodedImage(str(index), content) for index, content in enumerate(contents)]
    (part,) = decode_parts("here", [EncodedPart(np.zeros(len(images), np.int64), images)], SIDE)
    return part.images


@pytest.mark.parametrize("mode", [*GREY, *COLOUR])
def test_a_model_for_colour_sees_what_training_among_images_in_colour_saw(mode: str) -> None:
    expected, _ = _trained_on(_encoded(mode), _encoded("RGB"))
    np.testing.assert_array_equal(decode_for_model(_encoded(mode), SIDE, 3), expected)


@pytest.mark.parametrize("mode", GREY)
def test_a_model_for_grey_sees_what_training_saw(mode: str) -> None:
    (expected,) = _trained_on(_encoded(mode))
    np.testing.assert_array_equal(decode_for_model(_encoded(mode), SIDE, 1), expected)


def test_an_image_in_colour_becomes_grey_for_a_model_that_knows_no_colour() -> None:
    image = Image.open(io.BytesIO(_encoded("RGB"))).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode_for_model(_encoded("RGB"), SIDE, 1)[..., 0], np.asarray(image))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not an image that can be read: unknown format"),
        (_encoded("RGB")[:-30], "is not an image that can be read: "),
        (Path(__file__).read_bytes(), "is not an image that can be read: unknown format"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^{reason}"):
        decode_for_model(content, SIDE, 3)
