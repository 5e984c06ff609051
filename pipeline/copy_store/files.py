"""Copies artifacts file by file, each completely or not at all, and reads them back."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import fsspec

from pipeline.copy_store.relocation import ArtifactFolder
from pipeline.errors import PipelineError
from vit.files.storage import Folder

AT_ONCE = 8
"""How many files are copied at the same time; each of them is in memory for a moment."""


@dataclass(frozen=True)
class CopiedFile:
    """A file that the target contains after the copy."""

    path: str
    size: int
    """The size of the source's file, in bytes."""
    sha256: str
    """The digest of the target's file."""
    changed: bool
    """Whether the file was in the target before with different content than in the source, and was kept."""


@dataclass(frozen=True)
class _File:
    folder: Folder
    below: str
    """The file's path within the folder."""
    path: str
    """The file's path within the target."""
    is_in_target: bool


def copy_files(folders: Iterable[ArtifactFolder], target: Folder) -> list[CopiedFile]:
    """Copies the content of each folder; a second call resumes where the first was interrupted.

    If the target has the run or the model already, those of its files that are there are kept as they are.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda file: _copy(file, target), _files(folders)))


def verify_files(files: list[CopiedFile], target: Folder) -> None:
    """Raises PipelineError if a file reads back differently."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for file, digest in zip(files, pool.map(lambda file: _digest(target.read(file.path)), files), strict=True):
            if digest != file.sha256:
                raise PipelineError(f"{target.uri}/{file.path} reads back differently from what was there")


def _files(folders: Iterable[ArtifactFolder]) -> Iterator[_File]:
    for folder in folders:
        fs, root = fsspec.core.url_to_fs(folder.now)
        for path in fs.find(root):
            below = path.removeprefix(root).lstrip("/")
            yield _File(Folder(folder.now), below, f"{folder.path}/{below}", folder.is_in_target)


def _copy(file: _File, target: Folder) -> CopiedFile:
    content = file.folder.read(file.below)
    digest, present = _digest(content), None
    with suppress(FileNotFoundError):
        present = _digest(target.read(file.path))
    if file.is_in_target and present not in (None, digest):
        return CopiedFile(file.path, len(content), str(present), changed=True)
    if present != digest:
        target.write(file.path, content)
    return CopiedFile(file.path, len(content), digest, changed=False)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
