"""CIFAR-10 from a tiny archive of the original form, served on this machine, or from a copy; what `auto` then picks."""

import hashlib
import io
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

import numpy as np
import pytest
import torchvision.datasets
from numpy.typing import NDArray

from tests.unit.vit.data.sample_data import pet_parquet
from vit.data.arrays import DataError
from vit.data.dataset import DataConfig, load_dataset
from vit.data.sources import NotAtHandError, read_splits

pytestmark = pytest.mark.usefixtures("own_data_dir")

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def real_cifar10() -> Path | None:
    """The user's folder of data sets if it holds CIFAR-10, else None."""
    data_dir = os.environ.get("VIT_DATA_DIR")
    return Path(data_dir) if data_dir and (Path(data_dir) / "cifar10").is_dir() else None


REAL_CIFAR10 = real_cifar10()


def cifar_images(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def cifar_batch(images: NDArray[np.uint8]) -> bytes:
    labels = [index % 10 for index in range(len(images))]
    return pickle.dumps({"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), "labels": labels})


@pytest.fixture
def tiny_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of 20 training and 10 test images; torchvision is made to expect its checksums, not CIFAR-10's."""
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
    """Makes torchvision download from an address where nothing listens."""
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
