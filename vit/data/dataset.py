"""Makes a data set: train, validation and test images as arrays, class names, and a digest of the whole."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vit.data.arrays import DataError, DataShape, ImageArrays, Splits
from vit.data.sources import read_splits
from vit.data.stratify import pick, stratified_counts

SPLIT_SEED = 0
"""The seed that decides how train and validation are cut, and which images `train_limit` keeps."""
Indices = NDArray[np.int64]
"""Indices of images in a split, or of their classes: (N,)."""


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on."""

    name: str
    train: ImageArrays
    validation: ImageArrays
    """Cut from the source's train split; model selection reads this one."""
    test: ImageArrays
    class_names: tuple[str, ...]
    digest: str
    """`sha256:<hex>` of the content of all three splits."""
    test_digest: str
    """`sha256:<hex>` of the test split and the class names: two test results may be compared where it is equal."""
    mirror_safe: bool
    """Whether a mirrored image keeps its label: False for digits, and where `DataConfig.mirror` is False."""
    source: str
    """Where the images came from, for the records."""

    @property
    def img_size(self) -> int:
        """Height and width of an image, in pixels."""
        return int(self.train.images.shape[1])

    @property
    def in_chans(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.train.images.shape[3])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def shape(self) -> DataShape:
        return DataShape(self.img_size, self.in_chans, self.num_classes, self.mirror_safe)


@dataclass(frozen=True)
class DataConfig:
    """Which data set to load, and how much of it."""

    dataset: str = "auto"
    """`digits`, `cifar10`, `auto` (CIFAR-10 if available, else digits), a name in `$VIT_DATA_DIR`, or a path."""
    img_size: int | None = None
    """Resize every image to this height and width; None keeps the size that all share."""
    train_limit: int | None = None
    """Train on this many images only; validation shrinks with it."""
    mirror: bool = True
    """Whether a mirrored image keeps its label. With digits, letters or signs it may not, and a folder cannot tell."""

    def __post_init__(self) -> None:
        if not self.dataset:
            raise DataError("--dataset is empty, but must be digits, cifar10, auto or a folder")
        if self.img_size is not None and self.img_size < 1:
            raise DataError(f"--img-size is {self.img_size}, but must be at least 1")
        if self.train_limit is not None and self.train_limit < 2:
            raise DataError(f"--train-limit is {self.train_limit}, but must be at least 2, an image of each class")


def load_dataset(config: DataConfig) -> Dataset:
    """Reads the images and cuts validation from train: the same config and source give the same data set anywhere.

    Raises DataError where the source cannot be used, a class has fewer than two training images, or `train_limit`
    does not fit.
    """
    return cut_dataset(read_splits(config.dataset, config.img_size), config)


def cut_dataset(splits: Splits, config: DataConfig) -> Dataset:
    """Cuts validation from a source's train split and applies the limit; raises DataError like `load_dataset`."""
    labels = splits.train.labels
    train_at, validation_at = _cut_validation(labels, splits.class_names, SPLIT_SEED)
    if config.train_limit is not None:
        train_at, validation_at = _limit(
            labels, train_at, validation_at, len(splits.class_names), config.train_limit, SPLIT_SEED
        )
    # Only once all indices are chosen, since each `take` copies.
    train, validation = splits.train.take(train_at), splits.train.take(validation_at)
    return Dataset(
        splits.name,
        train,
        validation,
        splits.test,
        splits.class_names,
        digest=_digest(splits.class_names, train, validation, splits.test),
        test_digest=_digest(splits.class_names, splits.test),
        mirror_safe=splits.mirror_safe and config.mirror,
        source=splits.source,
    )


def _validation_size(num_images: int, num_classes: int) -> int:
    """A tenth of the images; if that is below 1,000, a fifth but at most 1,000; always at least one of each class."""
    return max(num_images // 10, min(num_images // 5, 1000), num_classes)


def _cut_validation(labels: Indices, class_names: tuple[str, ...], seed: int) -> tuple[Indices, Indices]:
    """The indices of train and of validation, each with at least one image of every class."""
    counts = np.bincount(labels, minlength=len(class_names))
    if counts.min() < 2:
        smallest = int(counts.argmin())
        raise DataError(
            f"class {class_names[smallest]} has {counts[smallest]} training images, but must have at least 2:"
            " one to train on and one to validate on"
        )
    size = _validation_size(len(labels), len(class_names))
    validation = pick(labels, stratified_counts(counts, size, leave=1), seed)
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def _limit(
    labels: Indices, train: Indices, validation: Indices, num_classes: int, limit: int, seed: int
) -> tuple[Indices, Indices]:
    """The indices of `limit` train images and of up to a quarter as many for validation, with every class in both."""
    if limit < num_classes:
        raise DataError(f"--train-limit is {limit}, but must be at least {num_classes}, an image of each class")
    if limit > len(train):
        raise DataError(
            f"--train-limit is {limit}, but must be at most {len(train)}:"
            " there are that many training images once validation is cut off"
        )
    size = limited_validation(len(validation), limit, num_classes)
    return _subset(labels, train, limit, seed), _subset(labels, validation, size, seed)


def limited_validation(images: int, train_limit: int, num_classes: int) -> int:
    """How many of the validation images are kept with `train_limit` training images."""
    return min(images, max(train_limit // 4, num_classes))


def _subset(labels: Indices, among: Indices, size: int, seed: int) -> Indices:
    its_labels = labels[among]
    return among[pick(its_labels, stratified_counts(np.bincount(its_labels), size), seed)]


def _digest(class_names: tuple[str, ...], *parts: ImageArrays) -> str:
    sha256 = hashlib.sha256(json.dumps(class_names).encode())
    for part in parts:
        # The shape is hashed first, so that no two data sets give the same bytes.
        sha256.update(json.dumps(part.images.shape).encode())
        sha256.update(np.ascontiguousarray(part.images).reshape(-1).data)
        sha256.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
    return f"sha256:{sha256.hexdigest()}"
