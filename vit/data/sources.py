"""Finds the data set that a name or a path means, and reads the two that need no folder: digits and CIFAR-10."""

import http.client
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vit.data.arrays import DataError, ImageArrays, Splits
from vit.data.decode import resize_images
from vit.data.image_files import LAYOUTS, folder_name, has_layout, read_folder
from vit.data.pixels import one_line
from vit.data.stratify import pick, stratified_counts

logger = logging.getLogger("vit")
_DOWNLOAD_TIMEOUT = 10.0
"""Seconds that a server may stay silent while CIFAR-10 is fetched."""


class NotAtHandError(DataError):
    """CIFAR-10 is neither on this machine nor can it be downloaded."""


def read_splits(dataset: str, img_size: int | None) -> Splits:
    """The data set that `dataset` names: `digits`, `cifar10`, `auto`, a folder in `$VIT_DATA_DIR`, or a path.

    `auto` is CIFAR-10 or, if that is not available, digits with a warning. Images are resized to `img_size` if that is
    given. Raises DataError where there is no such data set or it cannot be used.
    """
    if dataset == "digits":
        return _digits(img_size)
    if dataset == "cifar10":
        return _cifar10(img_size)
    if dataset == "auto":
        return _auto(img_size)
    return read_folder(_find_folder(dataset), img_size)


def dataset_name(dataset: str) -> str:
    """The name of the data set that `dataset` means. Reads images only for `auto`, which may have to try a download.

    Raises DataError where there is no such data set.
    """
    if dataset in ("digits", "cifar10"):
        return dataset
    return _auto(None).name if dataset == "auto" else folder_name(_find_folder(dataset))


def _auto(img_size: int | None) -> Splits:
    try:
        return _cifar10(img_size)
    except NotAtHandError as error:
        logger.warning("USING THE 8x8 DIGITS INSTEAD OF CIFAR-10: %s", error)
        return _digits(img_size)


def lasting_name(dataset: str) -> str:
    """What names the same data set in another working folder, too: its name, or the absolute path of its folder.

    Raises DataError where there is no such data set. `auto` has no such name: it may be another one next time.
    """
    if dataset in ("digits", "cifar10"):
        return dataset
    folder, data_dir = _find_folder(dataset), _data_dir()
    in_data_dir = data_dir is not None and folder == data_dir / dataset
    return dataset if in_data_dir and Path(dataset).name == dataset else os.path.abspath(folder)


def _find_folder(dataset: str) -> Path:
    path = Path(os.path.expanduser(dataset))  # unlike Path, it leaves `~name` as it is where there is no such user
    if path.name.lower() == "digits":
        raise DataError(
            f"--dataset is {dataset}, but digits is the name of the data set that is always there: rename the folder"
        )
    is_plain_name = path.name == dataset and dataset != ".."
    data_dir = _data_dir()
    try:
        if is_plain_name and data_dir is not None and (data_dir / dataset).is_dir():
            return data_dir / dataset
        if path.is_dir():
            return path
        exists = path.exists()
    except OSError as error:
        raise DataError(f"--dataset {dataset} cannot be read: {error.strerror}") from error
    if exists:
        raise DataError(f"--dataset {dataset} is a file, but must be a folder that holds {LAYOUTS}")
    known = "digits, cifar10, auto, a folder in $VIT_DATA_DIR or the path of a folder"
    raise DataError(f"--dataset is {dataset}, but no such data set or folder exists: it must be {known}")


def _data_dir() -> Path | None:
    value = os.environ.get("VIT_DATA_DIR")
    return Path(os.path.expanduser(value)) if value else None


def _digits(img_size: int | None) -> Splits:
    """1,797 grey 8x8 digits. They have no test split, so a stratified fifth, always the same, serves as one."""
    # Reads the file that `sklearn.datasets.load_digits` reads: importing scikit-learn would take most of a second.
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None, "scikit-learn is not installed"
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    pixels, target = table[:, :-1], table[:, -1]
    # Grey levels are stored as 0 to 16.
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    everything = ImageArrays(images, target.astype(np.int64))
    if img_size is not None:
        everything = resize_images(everything, img_size)
    counts = stratified_counts(np.bincount(everything.labels), len(everything) // 5, leave=1)
    test = pick(everything.labels, counts, seed=0)
    train = np.setdiff1d(np.arange(len(everything)), test)
    names = tuple(str(digit) for digit in range(10))
    return Splits(
        "digits", everything.take(train), everything.take(test), names, mirror_safe=False, source="scikit-learn digits"
    )


def _cifar10(img_size: int | None) -> Splits:
    root = (_data_dir() or Path("~/.cache/vit").expanduser()) / "cifar10"
    try:
        is_folder = has_layout(root)
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}") from error
    if is_folder:
        # The folder may be a link to a folder with another name.
        return replace(read_folder(root, img_size), name="cifar10")
    try:
        train, test, names = _torchvision_cifar10(root)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise NotAtHandError(
            f"CIFAR-10 is not in {root} and could not be downloaded ({one_line(error)}): set VIT_DATA_DIR to a folder"
            " that holds cifar10/, or give --dataset PATH or --dataset digits"
        ) from error
    if img_size is not None:
        train, test = resize_images(train, img_size), resize_images(test, img_size)
    return Splits("cifar10", train, test, names, mirror_safe=True, source=str(root.resolve()))


def _torchvision_cifar10(root: Path) -> tuple[ImageArrays, ImageArrays, tuple[str, ...]]:
    """Train, test and class names of the original files in `root`, downloaded if they are not there in full.

    torchvision checks every file against its known checksum before it reads it.
    """
    # This takes a second to import, which only those who use it should wait for.
    from torchvision.datasets import CIFAR10

    with _socket_timeout(_DOWNLOAD_TIMEOUT):
        parts = [CIFAR10(root, train=is_train, download=True) for is_train in (True, False)]
    train, test = (ImageArrays(np.ascontiguousarray(part.data), np.array(part.targets, np.int64)) for part in parts)
    return train, test, tuple(parts[0].classes)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
