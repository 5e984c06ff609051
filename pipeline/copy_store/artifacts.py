"""The server's artifacts: tried out before anything is copied."""

import uuid

from pipeline.errors import UsageError, disk_full
from vit.files.storage import Folder


def usable_folder(uri: str) -> Folder:
    """The folder of `--artifacts`, in which a file has been written and removed again.

    Raises:
        UsageError: it cannot be written; a full disk stays what it is.
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
