"""Folders of images: what is read, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.vit.data.sample_data import colour, encoded, pet_folder, save
from vit.data.arrays import DataError
from vit.data.sources import read_splits

pytestmark = pytest.mark.usefixtures("own_data_dir")


def test_image_folder(tmp_path: Path) -> None:
    folder = pet_folder(tmp_path / "My Pets.v2")
    save(folder / "train" / "cat" / "b.JPG", colour(90), quality=95)
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    (folder / "train" / "cat" / "._0.png").write_text("what macOS leaves behind")
    (folder / "train" / ".cache").mkdir()
    splits = read_splits(str(folder), None)
    assert (splits.name, splits.class_names, splits.mirror_safe) == ("my-pets-v2-0ebc", ("cat", "dog"), True)
    assert splits.source == str(folder)
    assert splits.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert splits.test.labels.tolist() == [0, 1]
    expected = [colour(shade) for shade in (10, 11, 12, 200, 201, 202)]
    assert np.array_equal(splits.train.images[[0, 1, 2, 4, 5, 6]], np.stack(expected))
    assert np.abs(splits.train.images[3].astype(int) - colour(90)).max() <= 3


def test_test_split_may_lack_a_class(tmp_path: Path) -> None:
    folder = pet_folder(tmp_path)
    (folder / "test" / "cat" / "0.png").unlink()
    (folder / "test" / "cat").rmdir()
    assert read_splits(str(folder), None).test.labels.tolist() == [1]


def test_grey_only_if_all_are_grey(tmp_path: Path) -> None:
    eight_bit = np.array([[0, 50], [100, 255]], np.uint8)
    for part in ("train", "test"):
        save(tmp_path / part / "a" / "0.png", eight_bit)
        save(tmp_path / part / "b" / "0.png", eight_bit.astype(np.uint16) * 257)
        save(tmp_path / part / "b" / "1.png", eight_bit > 99)
    splits = read_splits(str(tmp_path), None)
    assert splits.train.images.shape == (3, 2, 2, 1)
    one_bit = np.array([[0, 0], [255, 255]])
    assert np.array_equal(splits.train.images[..., 0], np.stack([eight_bit, eight_bit, one_bit]))

    save(tmp_path / "test" / "a" / "1.png", colour(5, side=2))
    splits = read_splits(str(tmp_path), None)
    assert splits.train.images.shape == (3, 2, 2, 3)
    assert np.array_equal(splits.train.images[0], np.repeat(eight_bit[..., None], 3, axis=2))


def test_alpha_and_palette_become_rgb(tmp_path: Path) -> None:
    folder = pet_folder(tmp_path)
    save(folder / "train" / "cat" / "0.png", np.dstack([colour(77), np.full((4, 4), 9, np.uint8)]))
    Image.fromarray(colour(78)).quantize().save(folder / "train" / "cat" / "1.png")
    images = read_splits(str(folder), None).train.images
    assert np.array_equal(images[0], colour(77))
    assert np.array_equal(images[1], colour(78))


def test_img_size_resizes_what_differs(tmp_path: Path) -> None:
    folder = pet_folder(tmp_path)
    save(folder / "train" / "cat" / "9.png", np.repeat(colour(30), 3, axis=1))
    splits = read_splits(str(folder), 4)
    assert np.array_equal(splits.train.images[3], colour(30))
    assert read_splits(str(folder), 6).test.images.shape == (2, 6, 6, 3)


def test_shrinking_averages(tmp_path: Path) -> None:
    folder = pet_folder(tmp_path)
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    save(folder / "train" / "cat" / "0.png", stripes)
    shrunk = read_splits(str(folder), 2).train.images[0]
    # Without antialiasing every pixel would be one of the stripes, 0 or 200.
    assert np.abs(shrunk.astype(int) - 100).max() <= 15


def test_images_large_enough_for_threads_keep_their_order(tmp_path: Path) -> None:
    for index in range(80):
        save(tmp_path / "train" / "ab"[index % 2] / f"{index:02}.png", colour(index, side=64))
    save(tmp_path / "test" / "a" / "0.png", colour(100, side=64))
    images = read_splits(str(tmp_path), None).train.images
    assert images[:, 0, 0, 0].tolist() == [*range(0, 80, 2), *range(1, 80, 2)]


@pytest.mark.parametrize("side", [4, 64])
def test_a_truncated_jpeg_is_named(tmp_path: Path, side: int) -> None:
    folder = pet_folder(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    path = save(folder / "train" / "dog" / "1.jpg", noise, quality=95)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"1.jpg is not an image that can be read: .*truncated") as refused:
        read_splits(str(folder), side)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("img_size", [None, 4])
def test_a_small_file_that_unpacks_to_much_is_refused_by_its_name(tmp_path: Path, img_size: int | None) -> None:
    folder = pet_folder(tmp_path)
    large = folder / "train" / "cat" / "1.png"
    Image.new("1", (10_000, 5_001)).save(large)
    assert large.stat().st_size < 100_000
    with pytest.raises(DataError, match=f"^{large} is 10000x5001, but an image must have at most 50 million pixels"):
        read_splits(str(folder), img_size)


def break_(folder: Path, what: str) -> None:
    """Breaks a valid folder of images in one way."""
    cat = folder / "train" / "cat"
    match what:
        case "no images":
            for path in (folder / "test" / "cat").iterdir():
                path.rename(path.with_suffix(".gif"))
        case "no classes":
            (folder / "train").rename(folder / "elsewhere")
            (folder / "train").mkdir()
        case "no test":
            (folder / "test").rename(folder / "elsewhere")
        case "no train":
            (folder / "train").rename(folder / "elsewhere")
        case "one class":
            for part in ("train", "test"):
                (folder / part / "dog").rename(folder / f"{part}-dog")
        case "unknown class":
            (folder / "test" / "dog").rename(folder / "test" / "cow")
        case "text":
            (cat / "1.png").write_text("no image")
        case "text first":
            (cat / "0.png").write_text("no image")
        case "cut png":
            noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
            (cat / "1.png").write_bytes(encoded(noise)[:60])
        case "dangling link":
            (cat / "1.png").unlink()
            (cat / "1.png").symlink_to("nowhere.png")
        case "two sizes":
            save(cat / "9.png", colour(1, side=6))
            save(folder / "test" / "cat" / "9.png", colour(1, side=6))
        case "many sizes":
            for side in range(5, 12):
                save(cat / f"side{side:02}.png", colour(1, side))
        case "not square":
            for path in folder.glob("*/*/*.png"):
                save(path, np.zeros((3, 5, 3), np.uint8))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no images", r"test/cat has no images \(\*\.png, \*\.jpg, \*\.jpeg\)"),
        ("no classes", "train is empty, but must have a folder of images for each class"),
        ("no test", "test is missing: a data set must have train/ and test/"),
        ("no train", "train is missing: a data set must have train/ and test/"),
        ("one class", r"has one class \(cat\), but must have at least two"),
        ("unknown class", "test/cow is a class that .*/train does not have"),
        ("text", "cat/1.png is not an image that can be read: unknown format"),
        ("text first", "cat/0.png is not an image that can be read: unknown format"),
        ("cut png", "cat/1.png is not an image that can be read"),
        ("dangling link", "cat/1.png cannot be read: No such file"),
        ("two sizes", r"different sizes, 4x4 \(8\), 6x6 \(2\): resize them with --img-size"),
        ("many sizes", r"4x4 \(8\), 5x5 \(1\), 6x6 \(1\), 7x7 \(1\), 8x8 \(1\) and 3 more: .*--img-size"),
        ("not square", r"not square, 5x3 \(8\): resize them with --img-size"),
    ],
)
def test_bad_image_folders(tmp_path: Path, what: str, message: str) -> None:
    folder = pet_folder(tmp_path)
    read_splits(str(folder), None)
    break_(folder, what)
    with pytest.raises(DataError, match=message) as refused:
        read_splits(str(folder), None)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("broken", [["photos/train/cat", "photos/test/cat"], ["photos"]])
def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path, broken: list[str]) -> None:
    """Such names come out of old archives, and no record of a run could hold them."""
    folder, name = pet_folder(tmp_path / "photos"), os.fsdecode(b"caf\xe9")
    for old in broken:
        (tmp_path / old).rename((tmp_path / old).with_name(name))
    with pytest.raises(DataError, match=r"^the name '.*caf\\udce9' is not UTF-8: rename the folder$"):
        read_splits(str(folder if folder.exists() else folder.with_name(name)), None)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
@pytest.mark.parametrize("locked", ["train/cat/0.png", "train/cat", "train", "."])
def test_what_may_not_be_read_is_named(tmp_path: Path, locked: str) -> None:
    path = pet_folder(tmp_path / "pets") / locked
    path.chmod(0)
    try:
        with pytest.raises(DataError, match=f"{tmp_path}/pets.* cannot be read: Permission denied"):
            read_splits(str(tmp_path / "pets"), None)
    finally:
        path.chmod(0o755)
