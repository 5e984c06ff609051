"""Finds the images to classify, in image files and in rows of Parquet files, without reading any image yet."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from pipeline.errors import UsageError
from vit.data.arrays import DataError
from vit.data.image_files import IMAGE_SUFFIXES
from vit.data.parquet import ParquetImages

_PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A file of one image, or a row group of a Parquet file."""

    path: str
    """Absolute, since Ray's workers have a working directory of their own. Bytes that are not UTF-8 are escaped."""
    images: int = 1
    row_group: int | None = None
    """None for a file of one image."""
    first_row: int = 0
    """The position in the file of the row group's first row."""
    broken: str = ""
    """Why nothing in the file can be read; empty if it can. Even a Parquet file counts as one image if it is broken."""


def find_images(inputs: Iterable[str], out: Path | None = None) -> list[ImageSource]:
    """Returns all images of the inputs, each once, in the order of the inputs and, within each input, by name.

    Args:
        inputs: folders, which are searched at all depths for image files and Parquet files; files, whatever their
            suffix; or patterns with `*`, `?`, `[]` and `**`.
        out: the file for the result, which is never included, since an earlier command may have written it there.

    Raises:
        UsageError: an input leads to no file, none of the files can be used, or the result would replace images.
    """
    files = dict.fromkeys(file for each in inputs for file in _files(each, out))
    if not files:
        raise UsageError(f"{out} is the file of --out, and there is no other input")
    sources = [source for file in files for source in _sources(file)]
    if not sources:
        raise UsageError(f"the Parquet files have no rows: {', '.join(files)}")
    if all(source.broken for source in sources):
        raise UsageError(f"{sources[0].path} {sources[0].broken}")
    return sources


def _files(given: str, out: Path | None) -> list[str]:
    path = os.path.abspath(os.path.expanduser(given))
    try:
        if os.path.isdir(path):
            found = sorted(_files_below(path))
            rule = f"is a folder that holds no image (*{', *'.join(IMAGE_SUFFIXES)}) and no *{_PARQUET}, at any depth"
        elif os.path.exists(path):
            return [] if out is not None and _is_earlier_result(path, out) else [path]
        else:
            found = sorted(file for file in glob.iglob(path, recursive=True) if os.path.isfile(file))
            rule = "names no file, no folder, and no pattern that a file fits"
    except OSError as error:
        raise UsageError(f"{error.filename or given} cannot be read: {error.strerror}") from error
    if out is not None:
        found = [file for file in found if not _is_same(file, out)]
    if not found:
        raise UsageError(f"{given} {rule}")
    return found


def _is_same(file: str, out: Path) -> bool:
    # The names are compared first: resolving links is slow, and there may be a million files.
    return os.path.basename(file) == out.name and os.path.realpath(file) == os.path.realpath(out)


def _is_earlier_result(file: str, out: Path) -> bool:
    """Whether a file that the user names, perhaps by the shell's pattern, is that of an earlier result.

    Raises UsageError if it holds images, which the result would replace.
    """
    if not _is_same(file, out):
        return False
    if not file.lower().endswith(_PARQUET) or all(source.broken for source in _sources(file)):
        return True
    raise UsageError(f"--out is {out}, which is also one of the inputs: name another file")


def _files_below(folder: str) -> Iterator[str]:
    """Yields the image files and Parquet files at any depth, without hidden ones, which belong to other programs."""
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:  # a link leads back to a folder above it, or two lead to the same
            folders.clear()
            continue
        entered.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith((*IMAGE_SUFFIXES, _PARQUET)):
                yield os.path.join(place, name)


def _raise(error: OSError) -> None:
    raise error


def _sources(file: str) -> list[ImageSource]:
    shown = os.fsencode(file).decode("utf-8", "backslashreplace")
    if shown != file:  # its bytes are not UTF-8, and a table of strings cannot hold them
        return [ImageSource(shown, broken="has a name that is not UTF-8")]
    if not file.lower().endswith(_PARQUET):
        return [ImageSource(file)]
    try:
        rows = ParquetImages(Path(file)).row_groups()
    except DataError as error:
        return [ImageSource(file, broken=str(error).removeprefix(f"{file} "))]
    ends = accumulate(rows)
    return [
        ImageSource(file, count, index, end - count) for index, (count, end) in enumerate(zip(rows, ends, strict=True))
    ]
