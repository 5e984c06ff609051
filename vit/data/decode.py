"""Decodes images (PNG, JPEG, ...) to arrays of one size and one number of channels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vit.data.arrays import DataError, ImageArrays
from vit.data.pixels import ImageError, decode, is_grey, open_image, resize

# Below this many pixels, threads are slower: at 32x32 Pillow holds the interpreter's lock for most of the time, and two
# threads took twice as long as one (10,000 JPEGs on 2 cores: 0.66 s against 0.33 s). At 96x96 they are faster.
_THREADS_FROM_PIXELS = 64 * 64
_CHUNK = 32
_BATCH = 1024
_SIZES_LISTED = 5
Size = tuple[int, int]
"""Width and height in pixels, as Pillow orders them."""


@dataclass(frozen=True)
class EncodedImage:
    """One image as it is stored."""

    where: str
    """How error messages name the image: by its path, or by its file and row."""
    content: bytes | Path


@dataclass(frozen=True)
class EncodedPart:
    """The images of one split, in the order of their labels."""

    labels: NDArray[np.int64]
    images: Iterable[EncodedImage]


@dataclass(frozen=True)
class _Decoded:
    size: Size
    grey: bool
    pixels: NDArray[np.uint8] | None
    """(H, W) if grey, else (H, W, 3); None if the image was not decoded, because its size is not the expected one."""


def decode_parts(where: str, parts: Sequence[EncodedPart], img_size: int | None) -> list[ImageArrays]:
    """Decodes the splits of one data set, which `where` names in messages, to arrays of a common shape.

    With `img_size` every image becomes `img_size` x `img_size`; without it all must share one square size. The arrays
    have one channel if all images of all splits are grey, else three. Raises DataError for an image that cannot be read
    or is too large to unpack, and for sizes that differ or are not square.
    """
    decoder = _Decoder(img_size)
    arrays = [decoder.decode(part) for part in parts]
    decoder.check_sizes(where)
    if decoder.all_grey:
        return [ImageArrays(np.ascontiguousarray(part.images[..., :1]), part.labels) for part in arrays]
    return arrays


def resize_images(arrays: ImageArrays, img_size: int) -> ImageArrays:
    """The images resized to `img_size` x `img_size`: bilinear, antialiased where they shrink."""
    count, height, width, channels = arrays.images.shape
    if (height, width) == (img_size, img_size):
        return arrays
    resized = np.empty((count, img_size, img_size, channels), np.uint8)
    for index, pixels in enumerate(arrays.images):
        # Pillow takes a grey image without its channel axis.
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        resized[index] = np.asarray(resize(image, img_size)).reshape(img_size, img_size, channels)
    return ImageArrays(resized, arrays.labels)


class _Decoder:
    """Decodes one part after another, and remembers the sizes of the images and whether all were grey."""

    def __init__(self, img_size: int | None) -> None:
        self._img_size = img_size
        self._first_size: Size | None = None
        self._sizes: Counter[Size] = Counter()
        self.all_grey = True

    def decode(self, part: EncodedPart) -> ImageArrays:
        """The images (N, H, W, 3) of a part; the channel of a grey one is repeated three times."""
        images = np.empty((0, 0, 0, 3), np.uint8)
        for index, decoded in enumerate(self._decoded(part.images)):
            self._sizes[decoded.size] += 1
            self.all_grey &= decoded.grey
            if decoded.pixels is None:
                continue  # check_sizes will refuse the data set; the rest is only read for its sizes.
            pixels = decoded.pixels[..., None] if decoded.grey else decoded.pixels
            if not images.size:
                images = np.empty((len(part.labels), *pixels.shape[:2], 3), np.uint8)
            images[index] = pixels
        return ImageArrays(images, part.labels)

    def check_sizes(self, where: str) -> None:
        """Raises DataError unless all images decoded so far are resized or share one square size."""
        if self._img_size is not None:
            return
        common = self._sizes.most_common(_SIZES_LISTED)
        listed = ", ".join(f"{width}x{height} ({count})" for (width, height), count in common)
        if len(self._sizes) > len(common):
            listed += f" and {len(self._sizes) - len(common)} more"
        if len(self._sizes) > 1:
            raise DataError(f"{where} has images of different sizes, {listed}: resize them with --img-size")
        if any(width != height for width, height in self._sizes):
            raise DataError(f"{where} has images that are not square, {listed}: resize them with --img-size")

    def _decoded(self, images: Iterable[EncodedImage]) -> Iterator[_Decoded]:
        stream = iter(images)
        with ThreadPoolExecutor() as pool:
            while batch := list(islice(stream, _BATCH)):
                if self._first_size is None:
                    self._first_size = _stored_size(batch[0])
                if self._first_size[0] * self._first_size[1] < _THREADS_FROM_PIXELS:
                    yield from map(self._decode_one, batch)
                else:
                    chunks = [batch[start : start + _CHUNK] for start in range(0, len(batch), _CHUNK)]
                    for decoded in pool.map(self._decode_chunk, chunks):
                        yield from decoded

    def _decode_chunk(self, chunk: list[EncodedImage]) -> list[_Decoded]:
        return [self._decode_one(image) for image in chunk]

    def _decode_one(self, encoded: EncodedImage) -> _Decoded:
        content = _read(encoded)
        with _named(encoded), open_image(content) as image:
            size, grey = image.size, is_grey(image)
            if self._img_size is None and (size != self._first_size or size[0] != size[1]):
                return _Decoded(size, grey, None)
            return _Decoded(size, grey, decode(image, self._img_size))


def _read(encoded: EncodedImage) -> bytes:
    if isinstance(encoded.content, bytes):
        return encoded.content
    try:
        return encoded.content.read_bytes()
    except OSError as error:
        raise DataError(f"{encoded.where} cannot be read: {error.strerror}") from error


def _stored_size(encoded: EncodedImage) -> Size:
    content = _read(encoded)
    with _named(encoded), open_image(content) as image:
        return image.size


@contextmanager
def _named(encoded: EncodedImage) -> Iterator[None]:
    """Turns an ImageError into a DataError that names the image."""
    try:
        yield
    except ImageError as error:
        raise DataError(f"{encoded.where} {error}") from error
