"""Reads Parquet files in the Hugging Face hub's image layout."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vit.data.arrays import PARTS, DataError
from vit.data.decode import EncodedImage, EncodedPart
from vit.data.pixels import one_line

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels")
_ROWS_AT_ONCE = 256
NO_BYTES = "has no image bytes: files that a row only refers to by path are not read"


def find_shards(folder: Path, part: str) -> list[Path]:
    """The files of a part, `train` or `test`, sorted; none where the folder is not in this layout."""
    for place in (folder, folder / "data"):
        # Not glob(), which treats a folder that it may not read as an empty one.
        files = place.iterdir() if place.is_dir() else ()
        if found := sorted(path for path in files if path.match(f"{part}*.parquet")):
            return found
    return []


def read_parquet(folder: Path) -> tuple[tuple[str, ...], list[EncodedPart]]:
    """The class names, and each of `PARTS`. Raises DataError, naming file and row, for what cannot be used."""
    shards = {part: [_Shard(path) for path in find_shards(folder, part)] for part in PARTS}
    for part in PARTS:
        if not sum(len(shard.labels) for shard in shards[part]):
            raise DataError(f"{folder} has no {part} images: it must hold {part}*.parquet with at least one row")
    names = _names_by_label(shards["train"], shards["test"])
    return tuple(names.values()), [_encoded_rows(shards[part], names) for part in PARTS]


def _names_by_label(train: list["_Shard"], test: list["_Shard"]) -> dict[int, str]:
    """Class names by label: those of the first training file that has any, or if none has, the training labels."""
    named = next((shard.class_names for shard in train if shard.class_names), ())
    if named:
        return dict(enumerate(named))
    if alone := next((shard.path for shard in test if shard.class_names), None):
        raise DataError(
            f"{alone} names its classes, but train*.parquet does not, so the numbers of the two may mean different"
            " classes: name the classes in both, or in none"
        )
    labels = np.unique(np.concatenate([shard.labels for shard in train]))
    return {int(label): str(label) for label in labels}


def _encoded_rows(shards: list["_Shard"], names: dict[int, str]) -> EncodedPart:
    labels = np.concatenate([_class_indices(shard, names) for shard in shards])
    return EncodedPart(labels, (image for shard in shards for image in shard.images()))


def _class_indices(shard: "_Shard", names: dict[int, str]) -> NDArray[np.int64]:
    """The class indices (N,) of the shard's labels, by the shard's own class names, which may be in another order.

    Args:
        shard: one file.
        names: the class names by label, for files that hold no names themselves.
    """
    class_names = list(names.values())
    its_names = dict(enumerate(shard.class_names)) or names
    odd = sorted({*its_names.values()} ^ {*class_names})
    if odd:
        raise DataError(f"{shard.path} has other classes than the files before it: {', '.join(odd[:5])}")
    labels, inverse = np.unique(shard.labels, return_inverse=True)
    for label in labels.tolist():
        if label not in its_names:
            row = int(np.flatnonzero(shard.labels == label)[0])
            raise DataError(f"{shard.path} row {row} has label {label}, which is none of the classes")
    positions = np.array([class_names.index(its_names[label]) for label in labels.tolist()], dtype=np.int64)
    indices: NDArray[np.int64] = positions[inverse]
    return indices


class ParquetImages:
    """The images of one Parquet file. Opening it reads its schema; the images are read in batches when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._schema = self._read_schema()
        self._image_column = self._find_column(_IMAGE_COLUMNS)
        image_type = self._schema.field(self._image_column).type
        if not pa.types.is_struct(image_type) or image_type.get_field_index("bytes") < 0:
            raise DataError(f"{path} column {self._image_column} is {image_type}, but must be struct<bytes, path>")

    def row_groups(self) -> list[int]:
        """The number of rows in each row group: the parts that are read independently."""
        with self._errors_named(), pq.ParquetFile(self.path) as file:
            return [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]

    def contents(self, row_groups: list[int] | None = None) -> Iterator[bytes | None]:
        """The encoded images in the order of the rows, of all row groups or of those given by number.

        None where a row has no bytes: files that a row only refers to by path are not read.
        """
        for batch in self._batches(self._image_column, row_groups):
            yield from pc.struct_field(batch, "bytes").to_pylist()

    def _batches(self, column: str, row_groups: list[int] | None = None) -> Iterator[Any]:
        """The column's pyarrow arrays, batch by batch."""
        with self._errors_named(), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups, columns=[column]):
                yield batch.column(0)

    def _read_schema(self) -> pa.Schema:
        with self._errors_named():
            return pq.read_schema(self.path)

    def _find_column(self, names: tuple[str, ...]) -> str:
        for name in names:
            if name in self._schema.names:
                return name
        raise DataError(
            f"{self.path} has the columns {', '.join(self._schema.names)}, but must have {' or '.join(names)}"
        )

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path} is not a Parquet file that can be read: {one_line(error)}") from error


class _Shard(ParquetImages):
    """One file of a labelled data set. Opening it also reads the labels (N,)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._label_column = self._find_column(_LABEL_COLUMNS)
        label_type = self._schema.field(self._label_column).type
        if not pa.types.is_integer(label_type):
            raise DataError(f"{path} column {self._label_column} is {label_type}, but must be int64")
        self.class_names = self._names()
        self.labels = self._labels()

    def images(self) -> Iterator[EncodedImage]:
        """The stored images, in the order of the rows."""
        for row, content in enumerate(self.contents()):
            where = f"{self.path} row {row}"
            if content is None:
                raise DataError(f"{where} {NO_BYTES}")
            yield EncodedImage(where, content)

    def _labels(self) -> NDArray[np.int64]:
        batches = list(self._batches(self._label_column))
        if any(batch.null_count for batch in batches):
            raise DataError(f"{self.path} has rows without a label")
        return np.concatenate([np.empty(0, np.int64), *(batch.to_numpy().astype(np.int64) for batch in batches)])

    def _names(self) -> tuple[str, ...]:
        """The class names in the hub's ClassLabel feature; empty where the file has none."""
        try:
            metadata = json.loads((self._schema.metadata or {}).get(b"huggingface", b"{}"))
        except ValueError as error:
            raise DataError(f"{self.path} has `huggingface` metadata that are not JSON: {one_line(error)}") from error
        feature = metadata
        for key in ("info", "features", self._label_column, "names"):
            feature = feature.get(key) if isinstance(feature, dict) else None
        names = tuple(map(str, feature)) if isinstance(feature, list) else ()
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{self.path} names the class {twice!r} twice in its metadata")
        return names
