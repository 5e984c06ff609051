"""Turns a list of image sources into pixels, on Ray's workers; an image that cannot be read becomes an error."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.predict.inputs import ImageSource
from vit.data.arrays import DataError
from vit.data.parquet import NO_BYTES, ParquetImages
from vit.data.pixels import ImageError, decode_for_model

_AT_ONCE = 256
"""The number of images that a worker passes on together."""
_SOURCES = pa.schema(
    {"path": pa.string(), "images": pa.int64(), "row_group": pa.int64(), "first_row": pa.int64(), "broken": pa.string()}
)
Batch = dict[str, np.ndarray]
"""The columns of N images: `path`; `row`, the image's row in its file, or -1 for a file of one image; `pixels`, uint8
(N, H, W, C), black where there is an error; `error`, empty where there is none."""


@dataclass(frozen=True)
class _Image:
    path: str
    row: int
    content: bytes = b""
    error: str = ""


def to_table(sources: list[ImageSource]) -> pa.Table:
    """Returns the sources as a table, which Ray Data can take."""
    return pa.table([[getattr(source, name) for source in sources] for name in _SOURCES.names], _SOURCES)


def decode_sources(table: pa.Table, image_shape: tuple[int, int, int]) -> Iterator[Batch]:
    """Yields batches of the sources' images, in their order, in the form that a model of this `image_shape` expects."""
    images = (image for row in table.to_pylist() for image in _images(ImageSource(**row)))
    while some := list(islice(images, _AT_ONCE)):
        yield _batch(some, image_shape)


def _images(source: ImageSource) -> Iterator[_Image]:
    if source.broken:
        yield _Image(source.path, -1, error=source.broken)
    elif source.row_group is None:
        yield _file(source.path)
    else:
        yield from _rows(source, source.row_group)


def _file(path: str) -> _Image:
    try:
        return _Image(path, -1, Path(path).read_bytes())
    except OSError as error:
        return _Image(path, -1, error=f"cannot be read: {error.strerror}")


def _rows(source: ImageSource, row_group: int) -> Iterator[_Image]:
    """Yields as many images as the row group should have: those that cannot be read any more, as errors."""
    row, end = source.first_row, source.first_row + source.images
    try:
        for content in ParquetImages(Path(source.path)).contents([row_group]):
            yield _Image(source.path, row, error=NO_BYTES) if content is None else _Image(source.path, row, content)
            row += 1
    except DataError as error:
        for lost in range(row, end):
            yield _Image(source.path, lost, error=str(error).removeprefix(f"{source.path} "))


def _batch(images: list[_Image], image_shape: tuple[int, int, int]) -> Batch:
    pixels = np.zeros((len(images), *image_shape), np.uint8)
    errors = [image.error for image in images]
    for index, image in enumerate(images):
        if not image.error:
            try:
                pixels[index] = decode_for_model(image.content, image_shape[0], image_shape[2])
            except ImageError as error:
                errors[index] = str(error)
    return {
        "path": np.array([image.path for image in images]),
        "row": np.array([image.row for image in images]),
        "pixels": pixels,
        "error": np.array(errors),
    }
