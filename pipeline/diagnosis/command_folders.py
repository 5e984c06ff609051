"""Finds the folders of sweeps and trainings in a storage, and reads what is in them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import fsspec

from pipeline.diagnosis.command_runs import OWNER
from pipeline.errors import PipelineError, UsageError
from pipeline.session.folder import SESSION_FILE, absolute_storage
from pipeline.trials.folder import TrialLedger
from vit.files.storage import Folder


@dataclass(frozen=True)
class CommandFolder:
    """The folder of a sweep or a training."""

    uri: str
    owner: str | None
    """The command's id; None where it cannot be read."""

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]

    def files(self) -> dict[str, int]:
        """Returns the size of everything in the folder, by path within it. Subfolders are included, with 0 bytes.

        Raises:
            UsageError, PipelineError: the folder cannot be read.
        """
        with _reading(self.uri):
            fs, root = fsspec.core.url_to_fs(self.uri)
            fs.invalidate_cache()
            found = fs.find(root, withdirs=True, detail=True)
        start = len(str(root).rstrip("/")) + 1
        sizes = {str(path)[start:]: about["size"] for path, about in found.items() if about["type"] == "file"}
        folders = {str(path)[start:]: 0 for path, about in found.items() if about["type"] == "directory"}
        return {path: int(size or 0) for path, size in {**folders, **sizes}.items() if path}

    @property
    def is_finished(self) -> bool:
        """Whether the last command in this folder ran to its end."""
        try:
            return bool(json.loads(Folder(self.uri).read(SESSION_FILE)).get("finished"))
        except ValueError:  # the file is broken
            return False

    def has_outcome(self, trial: str) -> bool:
        """Whether a trial, given by the path of its folder within this one, has an outcome."""
        try:
            ledger = TrialLedger.read(Folder(f"{self.uri}/{trial}"))
        except PipelineError:  # the file is broken
            return False
        return ledger is not None and ledger.outcome is not None


def command_folders(storage: str, must_exist: bool) -> list[CommandFolder]:
    """Returns the folders of all commands in a storage (path or URI).

    Raises:
        UsageError: the storage is missing though it must exist, or it is not a location that can be read.
        PipelineError: the storage cannot be read.
    """
    base = absolute_storage(storage)
    try:
        with _reading(storage):
            fs, root = fsspec.core.url_to_fs(base)
            fs.invalidate_cache()
            names = sorted(str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(root, detail=False))
    except (FileNotFoundError, NotADirectoryError) as error:
        if must_exist:
            raise UsageError(f"--storage is {storage}, but there is no such folder") from error
        return []
    uris = [f"{base}/{name}" for name in names]
    return [CommandFolder(uri, _owner_in(Folder(uri))) for uri in uris if Folder(uri).exists(SESSION_FILE)]


@contextmanager
def _reading(location: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (ImportError, ValueError) as error:  # no client for this kind; no such kind
        raise UsageError(f"--storage leads to {location}, which cannot be read: {error}") from error
    except Exception as error:  # each object store's client has errors of its own
        raise PipelineError(f"--storage leads to {location}, which cannot be read: {error}") from error


def _owner_in(folder: Folder) -> str | None:
    try:
        owner = json.loads(folder.read(SESSION_FILE))["id"]
        return owner if OWNER.fullmatch(owner) else None
    except (ValueError, TypeError, KeyError):
        return None
