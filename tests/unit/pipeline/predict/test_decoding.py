"""Tests that every image of the sources arrives in order, and as an error if it cannot be read."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.predict.decoding import decode_sources, to_table
from pipeline.predict.inputs import find_images
from tests.unit.vit.data.sample_data import colour, encoded, save, write_shard

SHAPE = (4, 4, 3)


def _decoded(*inputs: Path) -> list[tuple[str, int, int, str]]:
    """Returns each image's file name, row, red value of the first pixel, and first four words of the error."""
    found: list[tuple[str, int, int, str]] = []
    for batch in decode_sources(to_table(find_images(map(str, inputs))), SHAPE):
        columns = (batch["path"], batch["row"], batch["pixels"][:, 0, 0, 0], batch["error"])
        assert batch["pixels"].shape[1:] == SHAPE
        for path, row, red, error in zip(*(column.tolist() for column in columns), strict=True):
            found.append((Path(path).name, row, red, " ".join(error.split()[:4])))
    return found


def test_files_and_rows_in_order_with_what_is_broken_among_them(tmp_path: Path) -> None:
    save(tmp_path / "1.png", colour(10))
    (tmp_path / "2.png").write_bytes(b"broken")
    save(tmp_path / "3.png", colour(30))
    rows = [encoded(colour(40)), None, b"broken", encoded(colour(50, side=9))]
    write_shard(tmp_path / "4.parquet", rows, [0] * 4)
    (tmp_path / "5.parquet").write_bytes(b"broken")
    assert _decoded(tmp_path) == [
        ("1.png", -1, 10, ""),
        ("2.png", -1, 0, "is not an image"),
        ("3.png", -1, 30, ""),
        ("4.parquet", 0, 40, ""),
        ("4.parquet", 1, 0, "has no image bytes:"),
        ("4.parquet", 2, 0, "is not an image"),
        ("4.parquet", 3, 50, ""),
        ("5.parquet", -1, 0, "is not a Parquet"),
    ]


def test_a_file_that_goes_away_is_an_error_of_its_own(tmp_path: Path) -> None:
    sources = find_images([str(save(tmp_path / "1.png", colour(10)))])
    (tmp_path / "1.png").unlink()
    (batch,) = decode_sources(to_table(sources), SHAPE)
    assert batch["error"].tolist() == ["cannot be read: No such file or directory"]


def test_a_name_that_is_not_utf_8_is_an_error_of_its_own_under_a_name_that_can_be_written(tmp_path: Path) -> None:
    save(tmp_path / "a.png", colour(10))
    (tmp_path / os.fsdecode(b"\xe9.png")).write_bytes(encoded(colour(20)))
    assert _decoded(tmp_path) == [("a.png", -1, 10, ""), ("\\xe9.png", -1, 0, "has a name that")]


def test_rows_that_a_damaged_file_has_lost_are_counted_all_the_same(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "1.parquet", [encoded(colour(row % 256)) for row in range(300)], [0] * 300)
    sources = find_images([str(shard)])
    content = bytearray(shard.read_bytes())
    content[100:-5000] = bytes(len(content) - 5100)  # the footer, at the end of the file, stays
    shard.write_bytes(content)
    batches = list(decode_sources(to_table(sources), SHAPE))
    assert np.concatenate([batch["row"] for batch in batches]).tolist() == list(range(300))
    assert any("is not a Parquet file that can be read" in error for error in batches[-1]["error"])


def test_many_sources_come_in_batches_that_memory_has_room_for(tmp_path: Path) -> None:
    path = save(tmp_path / "1.png", colour(10))
    table = pa.concat_tables([to_table(find_images([str(path)]))] * 600)
    assert [len(batch["path"]) for batch in decode_sources(table, SHAPE)] == [256, 256, 88]
