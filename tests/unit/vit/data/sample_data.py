"""Writes small data sets of images to the disk, in the layouts that users have."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image


def colour(shade: int, side: int = 4) -> NDArray[np.uint8]:
    """A square image of one colour, whose channels differ."""
    return np.broadcast_to(np.array([shade, 255 - shade, 7], np.uint8), (side, side, 3)).copy()


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def encoded(pixels: NDArray[Any], kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def pet_folder(root: Path) -> Path:
    """Writes two classes, each with three training images and one test image, and returns the folder."""
    for shade, name in ((10, "cat"), (200, "dog")):
        for index in range(3):
            save(root / "train" / name / f"{index}.png", colour(shade + index))
        save(root / "test" / name / "0.png", colour(shade + 9))
    return root


def write_shard(
    path: Path,
    images: list[bytes | None],
    labels: list[int | None],
    names: tuple[str, ...] = (),
    columns: tuple[str, str] = ("image", "label"),
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    structs = [{"bytes": image, "path": f"{row}.png"} for row, image in enumerate(images)]
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({columns[0]: pa.array(structs, image_type), columns[1]: pa.array(labels, pa.int64())})
    if names:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def pet_parquet(root: Path) -> Path:
    images: list[bytes | None] = [encoded(colour(shade)) for shade in (1, 2, 3, 4)]
    write_shard(root / "train.parquet", images, [0, 1, 0, 1], ("cat", "dog"))
    write_shard(root / "test.parquet", images[:2], [1, 0], ("cat", "dog"))
    return root
