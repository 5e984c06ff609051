"""The readers: real images in real folders, Parquet files and archives, and what each refuses."""

import hashlib
import io
import json
import logging
import os
import pickle
import socket
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision.datasets
from numpy.typing import NDArray
from PIL import Image

from vit.arrays import DataError
from vit.data import DataConfig, load_dataset
from vit.sources import NotAtHandError, read_splits

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def real_cifar10() -> Path | None:
    """The user's folder of data sets if it holds CIFAR-10."""
    data_dir = os.environ.get("VIT_DATA_DIR")
    return Path(data_dir) if data_dir and (Path(data_dir) / "cifar10").is_dir() else None


REAL_CIFAR10 = real_cifar10()


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests see none of the user's copies and leave nothing in the user's cache."""
    monkeypatch.delenv("VIT_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def colour(shade: int, side: int = 4) -> NDArray[np.uint8]:
    """A square of one colour, other in each channel."""
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
    """Two classes, three training images and one test image of each."""
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


# Folders of images


def test_image_folder(tmp_path: Path) -> None:
    folder = pet_folder(tmp_path / "My Pets.v2")
    save(folder / "train" / "cat" / "b.JPG", colour(90), quality=95)
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    (folder / "train" / "cat" / "._0.png").write_text("what macOS leaves behind")
    (folder / "train" / ".cache").mkdir()
    splits = read_splits(str(folder), None)
    assert (splits.name, splits.class_names, splits.mirror_safe) == ("my-pets-v2", ("cat", "dog"), True)
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


def break_(folder: Path, what: str) -> None:
    """Spoils a good folder of images in one way."""
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


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
@pytest.mark.parametrize("locked", ["train/cat/0.png", "train/cat", "train", "."])
def test_what_may_not_be_read_is_named(tmp_path: Path, locked: str) -> None:
    path = pet_folder(tmp_path / "pets") / locked
    path.chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            read_splits(str(tmp_path / "pets"), None)
    finally:
        path.chmod(0o755)


# Parquet


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
    """Overwrites the first column's pages and leaves the footer whole."""
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)


def break_parquet(folder: Path, what: str) -> None:
    """Spoils a good folder of Parquet in one way."""
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


# Names


def test_a_plain_name_is_looked_up_in_the_data_dir_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = pet_folder(tmp_path / "here" / "pets")
    monkeypatch.chdir(here.parent)
    assert read_splits("pets", None).source == str(here)
    local = pet_parquet(tmp_path / "copies" / "pets")
    monkeypatch.setenv("VIT_DATA_DIR", str(local.parent))
    assert read_splits("pets", None).source == str(local)
    assert read_splits("./pets", None).source == str(here)
    monkeypatch.chdir(here)
    assert read_splits(".", None).name == "pets"


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("cifar11", "--dataset is cifar11, but no such data set or folder exists: .*digits, cifar10, auto, a folder"),
        ("no/such/folder", "--dataset is no/such/folder, but no such data set or folder exists"),
        ("file.parquet", r"--dataset file.parquet is a file, but must be a folder that holds train/<class>"),
        ("empty", r"empty holds no data set: it must hold train/<class>/.* or train\*\.parquet and test\*\.parquet"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_no_such_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.parquet").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read_splits(dataset, None)


def test_digits() -> None:
    splits = read_splits("digits", None)
    assert (splits.name, splits.class_names, splits.mirror_safe) == ("digits", tuple("0123456789"), False)
    assert splits.train.images.shape == (1438, 8, 8, 1)
    assert (splits.train.images.min(), splits.train.images.max()) == (0, 255)
    # The first row of the first digit, which scikit-learn shows in its guide as 0 0 5 13 9 1 0 0.
    first_row = [0, 0, 80, 207, 143, 16, 0, 0]
    everything = np.concatenate([splits.train.images, splits.test.images])
    assert first_row in everything[:, 0, :, 0].tolist()
    counts = np.bincount(splits.test.labels)
    assert counts.sum() == 359
    # The classes have 174 to 183 images.
    assert set(counts) <= {34, 35, 36, 37}
    assert read_splits("digits", 16).test.images.shape == (359, 16, 16, 1)


# CIFAR-10: a tiny archive of the original form, served on this machine


def cifar_images(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def cifar_batch(images: NDArray[np.uint8]) -> bytes:
    labels = [index % 10 for index in range(len(images))]
    return pickle.dumps({"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), "labels": labels})


@pytest.fixture
def tiny_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of 20 training and 10 test images, whose checksums torchvision takes for those of CIFAR-10."""
    members = {
        "data_batch_1": cifar_batch(cifar_images(20, seed=1)),
        "test_batch": cifar_batch(cifar_images(10, seed=2)),
        "batches.meta": pickle.dumps({"label_names": list(CIFAR10_NAMES)}),
    }
    archive = tmp_path / "served" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in members.items()}
    cifar10 = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(cifar10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(cifar10, "meta", cifar10.meta | {"md5": md5["batches.meta"]})
    return archive


@pytest.fixture
def server(tiny_archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Serves the archive at the address that torchvision downloads from."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tiny_archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        url = f"http://127.0.0.1:{running.server_address[1]}/{tiny_archive.name}"
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", url)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def dead_server(tiny_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that torchvision downloads from is one where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"http://127.0.0.1:{port}/{tiny_archive.name}")


def test_cifar10_is_downloaded_once(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = read_splits("cifar10", None)
    assert (splits.name, splits.class_names, splits.mirror_safe) == ("cifar10", CIFAR10_NAMES, True)
    assert np.array_equal(splits.train.images, cifar_images(20, seed=1))
    assert np.array_equal(splits.test.images, cifar_images(10, seed=2))
    assert splits.train.labels.tolist() == [*range(10), *range(10)]
    root = tmp_path / "home" / ".cache" / "vit" / "cifar10"
    assert splits.source == str(root)
    assert socket.getdefaulttimeout() is None

    server.server_close()
    (root / "cifar-10-python.tar.gz").unlink()
    assert np.array_equal(read_splits("cifar10", None).test.images, splits.test.images)
    assert read_splits("cifar10", 8).test.images.shape == (10, 8, 8, 3)
    monkeypatch.setenv("VIT_DATA_DIR", str(root.parent))
    assert read_splits("auto", None).name == "cifar10"


def test_cifar10_is_downloaded_into_the_data_dir(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIT_DATA_DIR", str(tmp_path / "copies"))
    assert read_splits("cifar10", None).source == str(tmp_path / "copies" / "cifar10")
    assert not (tmp_path / "home").exists()


def test_a_download_of_the_wrong_checksum_is_refused_and_mended(
    server: ThreadingHTTPServer, tiny_archive: Path
) -> None:
    good = tiny_archive.read_bytes()
    tiny_archive.write_bytes(good[:-100])
    with pytest.raises(NotAtHandError, match=r"could not be downloaded \(File not found or corrupted"):
        read_splits("cifar10", None)
    tiny_archive.write_bytes(good)
    assert len(read_splits("cifar10", None).train) == 20


@pytest.mark.usefixtures("dead_server")
def test_no_copy_and_no_server_says_the_ways_out() -> None:
    ways_out = "set VIT_DATA_DIR to a folder that holds cifar10/, or give --dataset PATH or --dataset digits"
    with pytest.raises(NotAtHandError, match=rf"could not be downloaded \(.*refused.*\): {ways_out}") as refused:
        read_splits("cifar10", None)
    assert "\n" not in str(refused.value)
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("dead_server")
def test_auto_falls_back_to_digits_loudly(caplog: pytest.LogCaptureFixture) -> None:
    assert read_splits("auto", None).name == "digits"
    [record] = caplog.records
    assert (record.name, record.levelno) == ("vit", logging.WARNING)
    assert "DIGITS INSTEAD OF CIFAR-10" in record.message
    assert "refused" in record.message


@pytest.mark.usefixtures("dead_server")
def test_auto_does_not_pass_over_a_broken_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pet_parquet(tmp_path / "copies" / "cifar10")
    monkeypatch.setenv("VIT_DATA_DIR", str(folder.parent))
    assert read_splits("auto", None).name == "cifar10"
    (folder / "test.parquet").unlink()
    with pytest.raises(DataError, match="has no test images"):
        read_splits("auto", None)


def test_a_linked_copy_of_cifar10_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = pet_parquet(tmp_path / "some-download")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "cifar10").symlink_to(copy)
    monkeypatch.setenv("VIT_DATA_DIR", str(tmp_path / "copies"))
    splits = read_splits("cifar10", None)
    assert (splits.name, splits.source) == ("cifar10", str(copy))


@pytest.mark.skipif(REAL_CIFAR10 is None, reason="VIT_DATA_DIR holds no cifar10")
def test_the_real_cifar10(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIT_DATA_DIR", str(REAL_CIFAR10))
    data = load_dataset(DataConfig("cifar10"))
    assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5_000, 10_000)
    assert (data.img_size, data.in_chans, data.class_names) == (32, 3, CIFAR10_NAMES)
    assert np.bincount(data.train.labels).tolist() == [4_500] * 10
    assert np.bincount(data.validation.labels).tolist() == [500] * 10
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10
    # Labels, names and the order of the channels fit together: only planes and ships have more blue than red.
    means = np.stack([data.test.images[data.test.labels == label].mean(axis=(0, 1, 2)) for label in range(10)])
    blue = [CIFAR10_NAMES[label] for label in np.flatnonzero(means[:, 2] > means[:, 0])]
    assert blue == ["airplane", "ship"]
