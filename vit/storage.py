"""Files in a folder that may be a local path or a URI (S3, NFS), each written whole or not at all."""

import uuid
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

STATE_FILE = "latest.pt"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class Folder:
    """A folder by path or URI. Readers never see half a file."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._fs, root = fsspec.core.url_to_fs(self.uri)
        self._root = str(root).rstrip("/")

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.uri}/{name}")

    def path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        return bytes(self._fs.cat_file(self.path(name)))

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Raises OSError where the folder cannot be written; what stood there before then still stands."""
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.pipe_file(self.path(name), bytes(content))  # an object store's put is whole or nothing
            return
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not by mkstemp, whose files nobody but their owner may read.
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        if self.exists(name):
            self._fs.rm_file(self.path(name))
