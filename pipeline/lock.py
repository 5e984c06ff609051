"""One command at a time over a folder."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.exits import UsageError

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Holds the folder, which is made where it is missing. The system lets go when the process ends, however it ends.

    Raises:
        UsageError: it cannot be written, or another process holds it.
    """
    if "://" in folder:
        yield  # an object store has no locks; each sweep writes under a name of its own
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = open(Path(folder) / LOCK_FILE, "a+")  # noqa: SIM115 - closed below, when the lock is let go
    except OSError as error:
        raise UsageError(f"--storage is {folder}, which cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UsageError(
                f"--storage is {folder}, which another sweep uses ({file.read().strip()}): wait, or name another folder"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}: {' '.join(sys.argv)}\n")
        file.flush()
        yield
