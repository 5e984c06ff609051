"""Files in a folder that may be a local path or a URI (S3, NFS), each written whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

STATE_FILE = "latest.pt"
PREVIOUS_STATE_FILE = "previous.pt"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CONCURRENT_READS = 16
"""Object stores answer slowly, but many at once."""


class Folder:
    """A folder by path or URI. Readers never see half a file."""

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
        # s3fs would fetch what is over 50 MB in parts, some of them perhaps of what another process writes meanwhile.
        options = {"max_concurrency": 1} if "s3" in self._fs.protocol else {}
        with self._errors_name(name):
            return bytes(self._fs.cat_file(self.path(name), **options))

    def write(self, name: str, content: bytes | memoryview, durable: bool = False) -> None:
        """Raises OSError where the folder cannot be written; what was there before still is.

        With `durable`, it also survives a power cut, which takes some milliseconds more.
        """
        if not self._is_local:
            with self._errors_name(name):
                self._fs.pipe_file(self.path(name), bytes(content))  # an object store's put is whole or nothing
            return
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not by mkstemp, whose files nobody but their owner may read.
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
                error.filename = str(target)  # a disk that is full does not say so itself
            raise

    def remove_folder(self, name: str) -> None:
        """Removes a folder below this one with all that is in it; a missing one is no error."""
        with self._errors_name(name), suppress(FileNotFoundError):
            if self._is_local:
                shutil.rmtree(self.path(name))
            else:
                # One by one: `rm` would take `*`, `?` and `[` in the URI for a pattern.
                for path in self._fs.find(self.path(name)):
                    self._fs.rm_file(path)

    def rename(self, old_name: str, new_name: str) -> None:
        """Replaces what is called `new_name`. An object store copies, so for a moment both names exist."""
        if self._is_local:
            Path(self.path(old_name)).replace(self.path(new_name))
            return
        with self._errors_name(old_name):
            self._forget_listings(old_name)
            # Not by `mv`, which takes `*`, `?` and `[` in the URI for patterns.
            self._fs.cp_file(self.path(old_name), self.path(new_name))
            self._fs.rm_file(self.path(old_name))

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._errors_name(name):
            self._fs.rm_file(self.path(name))

    def _forget_listings(self, name: str) -> None:
        """fsspec caches listings in the process, which would hide what others write."""
        self._fs.invalidate_cache(self.path(name))

    @contextmanager
    def _errors_name(self, name: str) -> Iterator[None]:
        """Turns any error of an object store's client into an OSError that names the file."""
        try:
            yield
        except Exception as error:
            if self._is_local:
                raise
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
            raise kind(f"{self.uri}/{name}: {error}") from error


def _sync(path: Path) -> None:
    """Has the system write a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
