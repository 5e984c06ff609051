"""Images as a page shows them: PNG as data URIs, with a map over them."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 144
"""Pixels of a picture's longer side, about; a small image is enlarged by a whole number, each pixel a square."""
_DIMMEST = 0.3
"""Of the brightness: where the map is lowest, the image can still be made out."""
_GLOW = np.array([230, 120, 0], dtype=np.float64)
"""The orange of Okabe and Ito's palette, a little darker: told apart from grey with every kind of colour vision."""


def picture(image: NDArray[np.uint8]) -> str:
    """A data URI of an image (H, W, C), C being 1 (grey) or 3 (RGB)."""
    return _data_uri(_sized(Image.fromarray(_rgb(image))))


def picture_with_map(image: NDArray[np.uint8], weights: NDArray[np.floating]) -> str:
    """The same in grey, glowing where the weights (rows, columns), each of which covers a patch, are high.

    The highest weight glows in full and the lowest not at all, however little they differ.
    """
    base = _sized(Image.fromarray(_rgb(image)))
    low, high = float(weights.min()), float(weights.max())
    shares = (weights - low) / (high - low) if high > low else np.zeros(weights.shape)
    glow = Image.fromarray((255 * shares).astype(np.uint8)).resize(base.size, Image.Resampling.BICUBIC)
    share = np.asarray(glow, dtype=np.float64)[..., None] / 255
    grey = np.asarray(base.convert("L"), dtype=np.float64)[..., None]
    lit = grey * (_DIMMEST + (1 - _DIMMEST) * share)
    mixed = lit * (1 - 0.45 * share) + _GLOW * 0.45 * share
    return _data_uri(Image.fromarray(mixed.clip(0, 255).astype(np.uint8)))


def _rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _sized(image: Image.Image) -> Image.Image:
    longer = max(image.size)
    if longer > _SIDE:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        return image
    times = _SIDE // longer
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
