"""Decodes one image to its pixels, in the same way for training, prediction and the registered model.

A copy of this file travels inside each registered model (`pipeline/registry/served_model.py`), so it imports nothing of
this project.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_MOST_PIXELS = 50_000_000
"""The most pixels of one image: a file of a few kB may unpack to gigabytes."""


class ImageError(ValueError):
    """An image cannot be used. The message continues after its name: `... is not an image that can be read: ...`."""


def open_image(content: bytes) -> Image.Image:
    """Opens an image, reading its size and mode but not its pixels.

    Raises ImageError if that fails or the image is too large to unpack.
    """
    try:
        image = Image.open(io.BytesIO(content))
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error and more
        raise _broken(error) from error
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise ImageError(
            f"is {width}x{height}, but an image must have at most {_MOST_PIXELS // 1_000_000} million pixels: make it"
            " smaller"
        )
    return image


def is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "I") or image.mode.startswith("I;16")


def decode(image: Image.Image, img_size: int | None = None, grey: bool = False) -> NDArray[np.uint8]:
    """Decodes to pixels (H, W) if the image is grey or `grey` is set, else to (H, W, 3).

    They are resized to `img_size` x `img_size` if that is given. Raises ImageError where the content is broken.
    """
    try:
        plain = _grey(image) if grey or is_grey(image) else image.convert("RGB")
        return np.asarray(plain if img_size is None else resize(plain, img_size))
    except Exception as error:
        raise _broken(error) from error


def decode_for_model(content: bytes, img_size: int, channels: int) -> NDArray[np.uint8]:
    """Pixels (img_size, img_size, channels) as a model was trained on: 1 channel (grey) or 3 (RGB).

    For 3 channels, a grey image is repeated three times, as in training on a mix of grey and colour images. For 1, a
    colour image becomes grey, since the model was trained on grey images only. Raises ImageError if it cannot be used.
    """
    with open_image(content) as image:
        pixels = decode(image, img_size, grey=channels == 1)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=2)


def resize(image: Image.Image, img_size: int) -> Image.Image:
    """Resizes bilinearly, with antialiasing where the image shrinks; returns a copy if it already has the size."""
    return image.resize((img_size, img_size), Image.Resampling.BILINEAR)


def one_line(error: BaseException) -> str:
    """An error's text on one line, or the name of its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _broken(error: Exception) -> ImageError:
    # Pillow names the buffer it was given in this error, which tells the user nothing.
    reason = "unknown format" if isinstance(error, UnidentifiedImageError) else one_line(error)
    return ImageError(f"is not an image that can be read: {reason}")


def _grey(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image.convert("L")
    # Of 16-bit grey, the high byte is taken. Pillow's own conversion clips everything above 255 to white.
    return Image.fromarray((np.clip(np.asarray(image), 0, 0xFFFF) >> 8).astype(np.uint8))
