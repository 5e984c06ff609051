"""Reads a data set from a folder: class folders of image files, or Parquet files (`vit.data.parquet`)."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vit.data.arrays import PARTS, DataError, Splits
from vit.data.decode import EncodedImage, EncodedPart, decode_parts
from vit.data.parquet import find_shards, read_parquet
from vit.data.pixels import one_line

LAYOUTS = "train/<class>/*.png|jpg|jpeg and test/<class>/..., or train*.parquet and test*.parquet (also in data/)"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def folder_name(folder: str | Path) -> str:
    """The name of the data set in a folder: the folder's, in lower case and fit to name experiments and models.

    Where a character does not fit, `-` takes its place, and a part of a hash is added: `my data` and `my.data` are two.
    """
    name = Path(os.path.abspath(os.path.expanduser(folder))).name.lower()
    fit = re.sub(r"[^a-z0-9_-]", "-", name)
    return fit if fit == name else f"{fit}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:4]}"


def has_layout(folder: Path) -> bool:
    """Whether the folder holds a part, train or test, of a data set in one of the layouts."""
    return _has_class_folders(folder) or any(find_shards(folder, part) for part in PARTS)


def read_folder(folder: Path, img_size: int | None) -> Splits:
    """The data set in `folder`, named after it; images resized to `img_size` if that is given.

    A mirrored image is assumed to keep its label, since the files do not tell.

    Raises DataError, naming the file or folder, for a layout that is not understood, a part that is missing or
    empty, fewer than two classes, and anything that cannot be read.
    """
    name = folder_name(folder)
    folder = folder.resolve()
    # File system errors are handled here in one place; the readers of image and Parquet files name the file themselves.
    try:
        if not has_layout(folder):
            raise DataError(f"{folder} holds no data set: it must hold {LAYOUTS}")
        class_names, parts = _class_folders(folder) if _has_class_folders(folder) else read_parquet(folder)
        if len(class_names) < 2:
            raise DataError(f"{folder} has one class ({class_names[0]}), but must have at least two")
        _refuse_broken_names((str(folder), *class_names))
        train, test = decode_parts(str(folder), parts, img_size)
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read: {error.strerror or one_line(error)}") from error
    return Splits(name, train, test, class_names, mirror_safe=True, source=str(folder))


def _refuse_broken_names(names: Iterable[str]) -> None:
    """Raises DataError for a name that is not UTF-8, such as one from an old archive: it could not be recorded."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"the name {name!a} is not UTF-8: rename the folder") from error


def _has_class_folders(folder: Path) -> bool:
    return any((folder / part).is_dir() for part in PARTS)


def _class_folders(folder: Path) -> tuple[tuple[str, ...], list[EncodedPart]]:
    files = {part: _files_by_class(folder / part) for part in PARTS}
    class_names = tuple(files["train"])
    if unknown := [name for name in files["test"] if name not in class_names]:
        raise DataError(f"{folder / 'test' / unknown[0]} is a class that {folder / 'train'} does not have")
    return class_names, [_encoded_files(files[part], class_names) for part in PARTS]


def _files_by_class(part: Path) -> dict[str, list[Path]]:
    """Image files by class folder of a part, both sorted; hidden ones belong to other programs and are left out."""
    if not part.is_dir():
        raise DataError(f"{part} is missing: a data set must have {' and '.join(f'{name}/' for name in PARTS)}")
    folders = sorted(path for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{part} is empty, but must have a folder of images for each class")
    files = {folder.name: _image_files(folder) for folder in folders}
    if empty := [name for name, paths in files.items() if not paths]:
        raise DataError(f"{part / empty[0]} has no images (*.png, *.jpg, *.jpeg)")
    return files


def _image_files(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)


def _encoded_files(files: dict[str, list[Path]], class_names: tuple[str, ...]) -> EncodedPart:
    labels = np.repeat([class_names.index(name) for name in files], [len(paths) for paths in files.values()])
    images = [EncodedImage(str(path), path) for paths in files.values() for path in paths]
    return EncodedPart(labels.astype(np.int64), images)
