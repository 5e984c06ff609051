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
    """A file of the target, as its source has it."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class _File:
    folder: Folder
    below: str
    """Its path in the folder."""
    path: str
    """Its path in the target."""


def copy_files(folders: Iterable[ArtifactFolder], target: Folder) -> list[CopiedFile]:
    """Copies what is in each folder. What is there already stays: a second call goes on where the first was cut off."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda file: _copy(file, target), _files(folders)))


def refuse_other_files(files: list[CopiedFile], target: Folder) -> None:
    """Raises PipelineError where a file reads back differently."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for file, digest in zip(files, pool.map(lambda file: _digest(target.read(file.path)), files), strict=True):
            if digest != file.sha256:
                raise PipelineError(f"{target.uri}/{file.path} reads back differently from what was written")


def _files(folders: Iterable[ArtifactFolder]) -> Iterator[_File]:
    for folder in folders:
        fs, root = fsspec.core.url_to_fs(folder.now)
        for path in fs.find(root):
            below = path.removeprefix(root).lstrip("/")
            yield _File(Folder(folder.now), below, f"{folder.path}/{below}")


def _copy(file: _File, target: Folder) -> CopiedFile:
    content = file.folder.read(file.below)
    digest, present = _digest(content), None
    with suppress(FileNotFoundError):
        present = _digest(target.read(file.path))
    if present != digest:
        target.write(file.path, content)
    return CopiedFile(file.path, len(content), digest)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
