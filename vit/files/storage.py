"""Reads and writes files in a folder, by local path or URI (S3, NFS), each written whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from vit.files.errors import StorageError

STATE_FILE = "latest.pt"
PREVIOUS_STATE_FILE = "previous.pt"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CONCURRENT_READS = 16
"""How many files to read at the same time: object stores answer each request slowly, but many in parallel."""


class Folder:
    """A folder, given by path or URI. Readers never see a file that is only partly written."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs, root = fsspec.core.url_to_fs(self.uri)
        self._root = str(root).rstrip("/")
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri}/{name}")

    def path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        with self._errors_name(name):
            self._forget_listings(name)
            return bool(self._fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        # s3fs would fetch files over 50 MB in parts, some perhaps of a newer file written by another process meanwhile.
        options = {"max_concurrency": 1} if "s3" in self._fs.protocol else {}
        with self._errors_name(name):
            return bytes(self._fs.cat_file(self.path(name), **options))

    def write(self, name: str, content: bytes | memoryview, durable: bool = False) -> None:
        """Writes a file. Raises OSError where the folder cannot be written; a file that was there before is unchanged.

        With `durable`, the file also survives a power cut, which takes some milliseconds more.
        """
        if not self._is_local:
            with self._errors_name(name):
                self._fs.pipe_file(self.path(name), bytes(content))  # an object store's put is whole or nothing
            return
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not by mkstemp, whose files only their owner may read.
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(content)
            if durable:
                _sync(temporary)
            temporary.replace(target)
            if durable:
                _sync(target.parent)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                error.filename = str(target)  # the error of a full disk does not name it
            raise

    def remove_folder(self, name: str) -> None:
        """Removes a folder below this one with all that is in it; a missing one is no error."""
        with self._errors_name(name), suppress(FileNotFoundError):
            if self._is_local:
                shutil.rmtree(self.path(name))
            else:
                # One by one, since `rm` would treat `*`, `?` and `[` in the URI as a pattern.
                for path in self._fs.find(self.path(name)):
                    self._fs.rm_file(path)

    def rename(self, old_name: str, new_name: str) -> None:
        """Renames a file, replacing one called `new_name`. An object store copies, so for a moment both names exist."""
        if self._is_local:
            Path(self.path(old_name)).replace(self.path(new_name))
            return
        with self._errors_name(old_name):
            self._forget_listings(old_name)
            # Not by `mv`, which would treat `*`, `?` and `[` in the URI as patterns.
            self._fs.cp_file(self.path(old_name), self.path(new_name))
            self._fs.rm_file(self.path(old_name))

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._errors_name(name):
            self._fs.rm_file(self.path(name))

    def _forget_listings(self, name: str) -> None:
        """Clears the listings that fsspec caches in this process, which would hide what other processes write."""
        self._fs.invalidate_cache(self.path(name))

    @contextmanager
    def _errors_name(self, name: str) -> Iterator[None]:
        """Turns any error of an object store's client into a StorageError that names the file, or FileNotFoundError."""
        try:
            yield
        except Exception as error:
            if self._is_local:
                raise
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else StorageError
            raise kind(f"{self.uri}/{name}: {error}") from error


def _sync(path: Path) -> None:
    """Makes the system write a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
