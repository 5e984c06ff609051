"""Checks that the folder of the server's artifacts can be written, before anything is copied."""

import uuid

from pipeline.errors import UsageError, disk_full
from vit.files.storage import Folder


def usable_folder(uri: str) -> Folder:
    """Returns the folder of `--artifacts`, after writing a file to it and removing that file again.

    Raises:
        UsageError: the folder cannot be written. If the disk is full, the original error is raised instead.
    """
    try:
        folder, probe = Folder(uri), f".probe-{uuid.uuid4().hex}"
        folder.write(probe, b"room for this?")
        folder.remove(probe)
    except (OSError, ImportError, ValueError) as error:  # no bucket or key; no client for this kind; no such kind
        if disk_full(error):
            raise
        raise UsageError(f"--artifacts is {uri}, but must be a folder or URI that can be written: {error}") from error
    return folder
