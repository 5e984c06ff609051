"""Converts images to PNG files in data URIs, as the page shows them, plain or with a heat map over them."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 144
"""The approximate length of a picture's longer side, in pixels.

A small image is enlarged by a whole factor, so that each of its pixels becomes a square.
"""
_DIMMEST = 0.3
"""The fraction of the brightness that is left where the map is lowest, so that the image can still be made out."""
_GLOW = np.array([230, 120, 0], dtype=np.float64)
"""The orange of Okabe and Ito's palette, a little darker: every kind of colour vision can tell it from grey."""


def picture(image: NDArray[np.uint8]) -> str:
    """Returns an image (H, W, C) as a data URI; C is 1 (grey) or 3 (RGB)."""
    return _data_uri(_sized(Image.fromarray(_rgb(image))))


def picture_with_map(image: NDArray[np.uint8], weights: NDArray[np.floating]) -> str:
    """Returns the image in grey, glowing where the weights (rows, columns) are high; each weight covers a patch.

    The highest weight glows fully and the lowest not at all, however little they differ.
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
