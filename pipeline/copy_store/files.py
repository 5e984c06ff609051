"""Artifacts: copied file by file, each whole or not at all, and read back."""

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
"""Files, each of which is in memory for a moment."""


@dataclass(frozen=True)
class CopiedFile:
    """A file that the target has now."""

    path: str
    size: int
    """Of the source's."""
    sha256: str
    """Of the target's."""
    changed: bool
    """It was there before, otherwise than in the source, and was kept."""


@dataclass(frozen=True)
class _File:
    folder: Folder
    below: str
    """Its path in the folder."""
    path: str
    """Its path in the target."""
    settled: bool


def copy_files(folders: Iterable[ArtifactFolder], target: Folder) -> list[CopiedFile]:
    """Copies what is in each folder; a second call goes on where the first was cut off.

    Where the target has the run or the model already, a file of it that is there stays as it is.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda file: _copy(file, target), _files(folders)))


def refuse_other_files(files: list[CopiedFile], target: Folder) -> None:
    """Raises PipelineError where a file reads back differently."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for file, digest in zip(files, pool.map(lambda file: _digest(target.read(file.path)), files), strict=True):
            if digest != file.sha256:
                raise PipelineError(f"{target.uri}/{file.path} reads back differently from what was there")


def _files(folders: Iterable[ArtifactFolder]) -> Iterator[_File]:
    for folder in folders:
        fs, root = fsspec.core.url_to_fs(folder.now)
        for path in fs.find(root):
            below = path.removeprefix(root).lstrip("/")
            yield _File(Folder(folder.now), below, f"{folder.path}/{below}", folder.settled)


def _copy(file: _File, target: Folder) -> CopiedFile:
    content = file.folder.read(file.below)
    digest, present = _digest(content), None
    with suppress(FileNotFoundError):
        present = _digest(target.read(file.path))
    if file.settled and present not in (None, digest):
        return CopiedFile(file.path, len(content), str(present), changed=True)
    if present != digest:
        target.write(file.path, content)
    return CopiedFile(file.path, len(content), digest, changed=False)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
