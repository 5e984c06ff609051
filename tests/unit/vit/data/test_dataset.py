"""Whole data sets: the cut into train, validation and test, limits, digests and duplicates."""

import io
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.unit.vit.data.sample_data import colour, encoded, write_shard
from vit.data import dataset
from vit.data.arrays import DataError, ImageArrays
from vit.data.dataset import DataConfig, Dataset, limited_validation, load_dataset
from vit.data.duplicates import Duplicates, duplicates_across_splits
from vit.data.stratify import pick, stratified_counts


def write_folder(root: Path, train: dict[str, int], test: dict[str, int]) -> Path:
    """Writes `train[c]` and `test[c]` 4x4 PNGs of each class c, no two alike, into class folders; returns `root`."""
    shades = iter(range(1_000_000))
    for part, counts in (("train", train), ("test", test)):
        for name, count in counts.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                write_png(folder / f"{index:03}.png", shades)
    return root


def write_png(path: Path, shades: Iterator[int]) -> None:
    pixels = np.full((4, 4, 3), 128, np.uint8)
    pixels[0, 0] = np.frombuffer(next(shades).to_bytes(3, "big"), np.uint8)
    Image.fromarray(pixels).save(path)


def class_counts(part: ImageArrays) -> list[int]:
    return [int(count) for count in np.bincount(part.labels)]


def rows(part: ImageArrays) -> set[bytes]:
    return {image.tobytes() for image in part.images}


@pytest.mark.parametrize(
    ("available", "total", "leave", "expected"),
    [
        ([60, 30, 10], 10, 0, [6, 3, 1]),
        # Quotas 3.33 each: the one left over goes to the first class.
        ([10, 10, 10], 10, 0, [4, 3, 3]),
        # Quotas 5.5, 3.3, 2.2: the remainder of the first is the largest.
        ([50, 30, 20], 11, 0, [6, 3, 2]),
        # Quotas 9.8, 0.1, 0.1: the small classes get their one each, at the cost of the large one.
        ([98, 1, 1], 10, 0, [8, 1, 1]),
        # Quotas 1.5, 7.5: the tie would take both of the first, but one must stay, so the second gives one more.
        ([2, 10], 9, 1, [1, 8]),
        ([2, 2, 2], 3, 1, [1, 1, 1]),
        ([5, 7], 12, 0, [5, 7]),
    ],
)
def test_stratified_counts(available: list[int], total: int, leave: int, expected: list[int]) -> None:
    assert stratified_counts(np.array(available), total, leave).tolist() == expected


@pytest.mark.parametrize(("available", "total", "leave"), [([5, 5], 1, 0), ([5, 5], 11, 0), ([5, 1], 3, 1)])
def test_stratified_counts_that_cannot_be(available: list[int], total: int, leave: int) -> None:
    with pytest.raises(ValueError, match=f"cannot pick {total}"):
        stratified_counts(np.array(available), total, leave)


def test_a_smaller_pick_lies_inside_a_larger_one() -> None:
    labels = np.arange(60) % 3
    small = pick(labels, np.array([2, 3, 4]), seed=7)
    large = pick(labels, np.array([5, 5, 5]), seed=7)
    assert np.bincount(labels[small]).tolist() == [2, 3, 4]
    assert set(small) < set(large)
    assert set(small) != set(pick(labels, np.array([2, 3, 4]), seed=8))


def test_digits_have_the_sizes_of_the_rules() -> None:
    data = load_dataset(DataConfig("digits"))
    # 1,797: a fifth is the test split; of the other 1,438 a tenth is under 1,000, so a fifth is for validation.
    assert (len(data.train), len(data.validation), len(data.test)) == (1151, 287, 359)
    assert (data.img_size, data.in_chans, data.num_classes) == (8, 1, 10)
    assert (data.train.images.dtype, data.train.labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int64))
    assert len(rows(data.train) | rows(data.validation) | rows(data.test)) == 1797


def test_the_same_images_are_mirrored_or_not_as_the_configuration_says(tmp_path: Path) -> None:
    folder = str(write_folder(tmp_path, {"b": 4, "d": 4}, {"b": 1}))
    default, never = load_dataset(DataConfig(folder)), load_dataset(DataConfig(folder, mirror=False))
    assert (default.shape.mirror_safe, never.shape.mirror_safe) == (True, False)
    assert (default.digest, default.test_digest) == (never.digest, never.test_digest)
    assert not load_dataset(DataConfig("digits", mirror=True)).mirror_safe


def test_validation_is_stratified(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"a": 10, "b": 20, "c": 3}, {"a": 1})
    data = load_dataset(DataConfig(str(folder)))
    # A fifth of 33 is 6; quotas 1.82, 3.64, 0.55: the two left over go to a and b, then c takes its one from b.
    assert class_counts(data.validation) == [2, 3, 1]
    assert class_counts(data.train) == [8, 17, 2]
    assert not rows(data.train) & rows(data.validation)
    assert class_counts(data.test) == [1]


def test_a_fifth_for_validation_is_at_most_1000_images(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(buffer, "png")
    image = {"bytes": buffer.getvalue(), "path": "0.png"}
    for part, count in (("train", 6000), ("test", 2)):
        table = pa.table({"image": [image] * count, "label": [index % 2 for index in range(count)]})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    data = load_dataset(DataConfig(str(tmp_path)))
    # Of 6,000 images a tenth is 600 and a fifth is 1,200.
    assert class_counts(data.validation) == [500, 500]
    assert class_counts(data.train) == [2500, 2500]


def test_two_images_of_each_class_are_enough(tmp_path: Path) -> None:
    # A fifth of 6 is 1, but each of three classes needs one.
    data = load_dataset(DataConfig(str(write_folder(tmp_path, {"a": 2, "b": 2, "c": 2}, {"b": 1}))))
    assert class_counts(data.train) == class_counts(data.validation) == [1, 1, 1]


def test_a_class_of_one_image_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"cat": 5, "dog": 1}, {"cat": 1})
    with pytest.raises(DataError, match="class dog has 1 training images, but must have at least 2"):
        load_dataset(DataConfig(str(folder)))


def test_the_seed_moves_validation_but_not_test(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = (load_dataset(DataConfig("digits")) for _ in range(2))
    monkeypatch.setattr(dataset, "SPLIT_SEED", 1)
    other = load_dataset(DataConfig("digits"))
    assert first.digest == again.digest != other.digest
    assert first.test_digest == other.test_digest
    assert rows(first.validation) != rows(other.validation)
    assert rows(first.train) | rows(first.validation) == rows(other.train) | rows(other.validation)


def test_train_limit_keeps_part_of_both() -> None:
    full = load_dataset(DataConfig("digits"))
    limited = load_dataset(DataConfig("digits", train_limit=100))
    assert (len(limited.train), len(limited.validation)) == (100, 25)
    assert min(class_counts(limited.train)) >= 9
    assert rows(limited.train) < rows(full.train)
    assert rows(limited.validation) < rows(full.validation)
    assert limited.test_digest == full.test_digest
    assert limited.digest != full.digest


def test_train_limit_of_one_image_per_class() -> None:
    data = load_dataset(DataConfig("digits", train_limit=10))
    assert class_counts(data.train) == class_counts(data.validation) == [1] * 10


def test_train_limit_does_not_grow_validation() -> None:
    data = load_dataset(DataConfig("digits", train_limit=1151))
    assert data.digest == load_dataset(DataConfig("digits", train_limit=1151)).digest
    assert (len(data.train), len(data.validation)) == (1151, 287)
    assert limited_validation(100, train_limit=1151, num_classes=10) == 100


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (9, "--train-limit is 9, but must be at least 10, an image of each class"),
        (1152, "--train-limit is 1152, but must be at most 1151"),
    ],
)
def test_train_limit_that_does_not_fit(limit: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(DataConfig("digits", train_limit=limit))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": ""}, "--dataset is empty"),
        ({"img_size": 0}, "--img-size is 0, but must be at least 1"),
        ({"train_limit": 0}, "--train-limit is 0, but must be at least 2"),
    ],
)
def test_config_names_flag_value_and_rule(values: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DataConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["train", "test"])
def test_one_pixel_changes_the_digest(tmp_path: Path, part: str) -> None:
    folder = write_folder(tmp_path, {"a": 3, "b": 3}, {"a": 1, "b": 1})
    before = load_dataset(DataConfig(str(folder)))
    path = folder / part / "a" / "000.png"
    pixels = np.array(Image.open(path))
    pixels[3, 3, 2] += 1
    Image.fromarray(pixels).save(path)
    after = load_dataset(DataConfig(str(folder)))
    assert after.digest != before.digest
    assert (after.test_digest != before.test_digest) == (part == "test")


def test_labels_and_class_names_are_in_the_digest(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"a": 3, "b": 3}, {"a": 1, "b": 1})
    before = load_dataset(DataConfig(str(folder)))
    (folder / "test" / "a" / "000.png").rename(folder / "test" / "b" / "-.png")
    (folder / "test" / "a").rmdir()
    relabelled = load_dataset(DataConfig(str(folder)))
    assert np.array_equal(relabelled.test.images, before.test.images)
    for part in ("train", "test"):
        (folder / part / "b").rename(folder / part / "c")
    renamed = load_dataset(DataConfig(str(folder)))
    assert len({before.test_digest, relabelled.test_digest, renamed.test_digest}) == 3
    assert len({before.digest, relabelled.digest, renamed.digest}) == 3


def test_the_digest_is_the_same_in_another_process() -> None:
    code = (
        "from vit.data.dataset import DataConfig, load_dataset\n"
        "print(load_dataset(DataConfig('digits', train_limit=50)).digest)"
    )
    env = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == load_dataset(DataConfig("digits", train_limit=50)).digest


def arrays(*shades: int) -> ImageArrays:
    images = np.stack([np.full((2, 2, 1), shade, np.uint8) for shade in shades])
    return ImageArrays(images, np.zeros(len(shades), np.int64))


def test_duplicates_across_splits() -> None:
    # Of the test images, 1 is also in train, and 4, which is there twice, also in validation; 9 is only in test.
    data = Dataset("d", arrays(1, 2), arrays(4), arrays(1, 9, 4, 4), ("a", "b"), "", "", True, "")
    assert duplicates_across_splits(data).test == 3


def test_duplicates_of_train_in_validation() -> None:
    # 2 is in train and twice in validation; 7 is twice in validation only; 8 is in validation and test.
    data = Dataset("d", arrays(1, 2), arrays(2, 7, 2, 7, 8), arrays(8, 9), ("a", "b"), "", "", True, "")
    assert duplicates_across_splits(data) == Duplicates(test=1, validation=2)


@pytest.mark.parametrize("limit", [None, 400])
def test_loading_holds_the_images_twice_at_most(tmp_path: Path, limit: int | None) -> None:
    """Once as the source returned them, and once as they are passed on: they are cut and limited in one step."""
    cells: list[bytes | None] = [encoded(colour(shade, side=96)) for shade in range(200)]
    write_shard(tmp_path / "train.parquet", cells * 3, [0, 1] * 300)
    write_shard(tmp_path / "test.parquet", cells[:2], [0, 1])
    config = DataConfig(str(tmp_path), train_limit=limit)
    load_dataset(config)  # so that what the first call imports and caches is not counted
    tracemalloc.start()
    try:
        data = load_dataset(config)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    source = 600 * 96 * 96 * 3
    given = data.train.images.nbytes + data.validation.images.nbytes
    assert peak < 1.1 * (source + given)
