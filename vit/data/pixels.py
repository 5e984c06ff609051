"""From one encoded image to its pixels: what training, prediction and the registered model all do alike.

A copy of this file travels inside each registered model (`pipeline/registry/served_model.py`), so it imports nothing of
this project.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_MOST_PIXELS = 50_000_000
"""Of one image: a file of a few kB may unpack to gigabytes."""


class ImageError(ValueError):
    """An image cannot be used; the message goes on behind its name: `... is not an image that can be read: ...`."""


def open_image(content: bytes) -> Image.Image:
    """The image with its size and mode, not yet decoded. Raises ImageError where it is none, or too large to unpack."""
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
    """Pixels (H, W) of a grey image, or of any with `grey`; (H, W, 3) of one in colour.

    Resized to `img_size` x `img_size` if that is given. Raises ImageError where the content is broken.
    """
    try:
        plain = _grey(image) if grey or is_grey(image) else image.convert("RGB")
        return np.asarray(plain if img_size is None else resize(plain, img_size))
    except Exception as error:
        raise _broken(error) from error


def decode_for_model(content: bytes, img_size: int, channels: int) -> NDArray[np.uint8]:
    """Pixels (img_size, img_size, channels) as a model was trained on: 1 channel (grey) or 3 (RGB).

    For three, a grey image is taken three times over, as in training beside images in colour. For one, an image in
    colour becomes grey: training saw none. Raises ImageError where it cannot be used.
    """
    with open_image(content) as image:
        pixels = decode(image, img_size, grey=channels == 1)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=2)


def resize(image: Image.Image, img_size: int) -> Image.Image:
    """Bilinear, antialiased where it shrinks; a copy where the size is right already."""
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
    # 16-bit grey: its high byte. Pillow's own conversion clips everything above 255 to white.
    return Image.fromarray((np.clip(np.asarray(image), 0, 0xFFFF) >> 8).astype(np.uint8))
