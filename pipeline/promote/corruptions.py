"""Corrupts images as cameras, networks and people do: five kinds at three strengths, the same every time.

This follows Hendrycks and Dietterich 2019 (arXiv:1903.12261). What is measured in pixels grows with the image size.
"""

import io
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

Images = NDArray[np.uint8]
_NOISE = (8, 16, 32)
"""Standard deviations of the noise, on the scale of 0 to 255."""
_BLUR = (0.0125, 0.025, 0.0375)
"""Standard deviations of the blur, as fractions of an image's side: 0.4, 0.8 and 1.2 pixels where the side is 32."""
_BRIGHTNESS = (0.8, 0.6, 0.4)
"""The fractions of the brightness that are left."""
_JPEG = (50, 25, 10)
"""Qualities of the JPEG compression."""
_ROTATION = (5, 10, 15)
"""Angles of the rotation, in degrees."""
COUNT = 15


def corrupted(images: Images) -> Iterator[tuple[str, Images]]:
    """Yields each kind and strength by name (`noise 1` to `rotation 3`) and all images (N, H, W, C) corrupted by it."""
    side = images.shape[1]
    for strength, deviation in enumerate(_NOISE, start=1):
        noise = np.random.default_rng(strength).normal(0, deviation, images.shape)
        yield f"noise {strength}", np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)
    for strength, share in enumerate(_BLUR, start=1):
        yield f"blur {strength}", _each(images, _blur(share * side))
    for strength, factor in enumerate(_BRIGHTNESS, start=1):
        yield f"brightness {strength}", _each(images, _darken(factor))
    for strength, quality in enumerate(_JPEG, start=1):
        yield f"jpeg {strength}", _each(images, _compress(quality))
    for strength, degrees in enumerate(_ROTATION, start=1):
        yield f"rotation {strength}", _each(images, _rotate(degrees))


def _each(images: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    """Applies `change` to every image. In PIL, a grey image has no channel axis."""
    changed = [
        np.asarray(change(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image))) for image in images
    ]
    return np.stack(changed).reshape(images.shape)


def _blur(radius: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


def _darken(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def _compress(quality: int) -> Callable[[Image.Image], Image.Image]:
    def compress(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return compress


def _rotate(degrees: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(degrees, Image.Resampling.BILINEAR)
