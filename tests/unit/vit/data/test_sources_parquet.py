"""Parquet files in the layout of the Hugging Face Hub: what is read, and what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.vit.data.sample_data import colour, encoded, pet_parquet, write_shard
from vit.data.arrays import DataError
from vit.data.sources import read_splits

pytestmark = pytest.mark.usefixtures("own_data_dir")


def test_parquet_in_shards(tmp_path: Path) -> None:
    names = ("cat", "dog", "eel")
    folder = tmp_path / "zoo" / "data"
    for shard, labels in ((1, [2, 0]), (0, [1, 2, 0, 1])):
        images: list[bytes | None] = [encoded(colour(100 * shard + row)) for row in range(len(labels))]
        write_shard(folder / f"train-0000{shard}-of-00002.parquet", images, [*labels], names)
    write_shard(folder / "test-00000-of-00001.parquet", [encoded(colour(50))], [1], names)
    splits = read_splits(str(tmp_path / "zoo"), None)
    assert (splits.name, splits.class_names, splits.mirror_safe) == ("zoo", names, True)
    assert splits.train.labels.tolist() == [1, 2, 0, 1, 2, 0]
    assert np.array_equal(splits.train.images, [colour(shade) for shade in (0, 1, 2, 3, 100, 101)])
    assert splits.test.labels.tolist() == [1]
    assert np.array_equal(splits.test.images, [colour(50)])


def test_each_file_is_read_by_its_own_names(tmp_path: Path) -> None:
    """Cats are dark and dogs are bright in every file, but two of the files list the classes in different orders."""
    dark, bright = encoded(colour(10)), encoded(colour(200))
    write_shard(tmp_path / "train.parquet", [dark, bright], [0, 1], ("cat", "dog"))
    write_shard(tmp_path / "test-0.parquet", [dark, bright], [1, 0], ("dog", "cat"))
    write_shard(tmp_path / "test-1.parquet", [bright], [1])  # has no names, so those of the first file apply
    splits = read_splits(str(tmp_path), None)
    assert splits.class_names == ("cat", "dog")
    assert splits.test.labels.tolist() == [0, 1, 1]


def test_names_that_only_the_test_files_have_are_refused(tmp_path: Path) -> None:
    """In the training file 0 is dark and 1 is bright; by the order of the test file's names, dark would be a dog."""
    dark, bright = encoded(colour(10)), encoded(colour(200))
    write_shard(tmp_path / "train.parquet", [dark, bright], [0, 1])
    write_shard(tmp_path / "test.parquet", [dark, bright], [1, 0], ("dog", "cat"))
    with pytest.raises(DataError, match=r"test\.parquet names its classes, but train\*\.parquet does not, .* in none$"):
        read_splits(str(tmp_path), None)


def test_names_of_one_training_file_serve_for_the_others(tmp_path: Path) -> None:
    dark, bright = encoded(colour(10)), encoded(colour(200))
    write_shard(tmp_path / "train-0.parquet", [bright], [1])
    write_shard(tmp_path / "train-1.parquet", [dark], [0], ("cat", "dog"))
    write_shard(tmp_path / "test.parquet", [bright], [1])
    splits = read_splits(str(tmp_path), None)
    assert (splits.class_names, splits.train.labels.tolist(), splits.test.labels.tolist()) == (
        ("cat", "dog"), [1, 0], [1],
    )  # fmt: skip


def test_a_file_of_other_classes_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = pet_parquet(tmp_path)
    write_shard(folder / "test.parquet", [encoded(colour(1))], [0], ("cat", "fox"))
    with pytest.raises(DataError, match=r"test\.parquet has other classes than the files before it: dog, fox"):
        read_splits(str(folder), None)


def test_a_class_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    folder = pet_parquet(tmp_path)
    write_shard(folder / "test.parquet", [encoded(colour(1))], [0], ("cat", "dog", "cat"))
    with pytest.raises(DataError, match=r"test\.parquet names the class 'cat' twice in its metadata"):
        read_splits(str(folder), None)


@pytest.mark.parametrize("metadata", ['{"info": null}', '{"info": {"features": []}}', "[]"])
def test_metadata_of_another_shape_name_no_classes(tmp_path: Path, metadata: str) -> None:
    folder = pet_parquet(tmp_path)
    for part in ("train", "test"):
        table = pq.read_table(folder / f"{part}.parquet").replace_schema_metadata({"huggingface": metadata})
        pq.write_table(table, folder / f"{part}.parquet")
    assert read_splits(str(folder), None).class_names == ("0", "1")


def test_parquet_without_names_takes_the_labels_that_are_there(tmp_path: Path) -> None:
    images: list[bytes | None] = [encoded(colour(shade)) for shade in range(4)]
    write_shard(tmp_path / "train.parquet", images, [30, 7, 30, -1], columns=("img", "labels"))
    write_shard(tmp_path / "test.parquet", images[:1], [7], columns=("img", "labels"))
    splits = read_splits(str(tmp_path), None)
    assert splits.class_names == ("-1", "7", "30")
    assert splits.train.labels.tolist() == [2, 1, 2, 0]
    assert splits.test.labels.tolist() == [1]


def test_parquet_of_more_rows_than_one_batch(tmp_path: Path) -> None:
    shades = [row % 251 for row in range(2500)]
    cells = [encoded(np.full((1, 1), shade, np.uint8)) for shade in range(251)]
    write_shard(tmp_path / "train.parquet", [cells[shade] for shade in shades], [shade % 2 for shade in shades])
    write_shard(tmp_path / "test.parquet", [cells[0], cells[1]], [0, 1])
    train = read_splits(str(tmp_path), None).train
    assert train.images.shape == (2500, 1, 1, 1)
    assert train.images.ravel().tolist() == shades
    assert train.labels.tolist() == [shade % 2 for shade in shades]


def corrupt(path: Path) -> None:
    """Overwrites the first column's pages and leaves the footer intact."""
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)


def break_parquet(folder: Path, what: str) -> None:
    """Breaks a valid folder of Parquet files in one way."""
    train, test = folder / "train.parquet", folder / "test.parquet"
    good = encoded(colour(1))
    match what:
        case "no test":
            test.unlink()
        case "no train":
            train.unlink()
        case "no rows":
            write_shard(test, [], [], ("cat", "dog"))
        case "text":
            train.write_text("no parquet, but longer than a footer")
        case "empty file":
            train.write_bytes(b"")
        case "pages":
            corrupt(train)
        case "broken image":
            write_shard(test, [good, good, b"no image"], [0, 1, 0], ("cat", "dog"))
        case "cut image":
            noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
            write_shard(train, [good, encoded(noise, "jpeg")[:-30]], [0, 1], ("cat", "dog"))
        case "no bytes":
            write_shard(train, [good, None], [0, 1], ("cat", "dog"))
        case "null image":
            image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            structs = pa.array([{"bytes": good, "path": "0"}, None], image_type)
            pq.write_table(pa.table({"image": structs, "label": [0, 1]}), train)
            write_shard(test, [good], [1])
        case "label outside":
            write_shard(test, [good, good], [1, 2], ("cat", "dog"))
        case "label not in train":
            write_shard(train, [good, good], [3, 4])
            write_shard(test, [good], [5])
        case "no label":
            write_shard(train, [good, good], [0, None], ("cat", "dog"))
        case "one class":
            write_shard(train, [good, good], [0, 0], ("cat",))
            write_shard(test, [good], [0], ("cat",))
        case "column names":
            write_shard(train, [good], [0], columns=("picture", "label"))
        case "image type":
            pq.write_table(pa.table({"image": [good], "label": [0]}), train)
        case "label type":
            pq.write_table(pa.table({"image": [{"bytes": good, "path": ""}], "label": ["cat"]}), train)
        case "metadata":
            pq.write_table(pq.read_table(train).replace_schema_metadata({"huggingface": "{"}), train)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no test", r"has no test images: it must hold test\*\.parquet"),
        ("no train", r"has no train images: it must hold train\*\.parquet"),
        ("no rows", "has no test images: .* with at least one row"),
        ("text", "train.parquet is not a Parquet file that can be read"),
        ("empty file", "train.parquet is not a Parquet file that can be read"),
        ("pages", "train.parquet is not a Parquet file that can be read"),
        ("broken image", "test.parquet row 2 is not an image that can be read: unknown format"),
        ("cut image", "train.parquet row 1 is not an image that can be read: .*truncated"),
        ("no bytes", "train.parquet row 1 has no image bytes"),
        ("null image", "train.parquet row 1 has no image bytes"),
        ("label outside", "test.parquet row 1 has label 2, which is none of the classes"),
        ("label not in train", "test.parquet row 0 has label 5, which is none of the classes"),
        ("no label", "train.parquet has rows without a label"),
        ("one class", r"has one class \(cat\), but must have at least two"),
        ("column names", "train.parquet has the columns picture, label, but must have image or img"),
        ("image type", "train.parquet column image is binary, but must be struct<bytes, path>"),
        ("label type", "train.parquet column label is string, but must be int64"),
        ("metadata", "train.parquet has `huggingface` metadata that are not JSON"),
    ],
)
def test_bad_parquet(tmp_path: Path, what: str, message: str) -> None:
    folder = pet_parquet(tmp_path)
    read_splits(str(folder), None)
    break_parquet(folder, what)
    with pytest.raises(DataError, match=message) as refused:
        read_splits(str(folder), None)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
