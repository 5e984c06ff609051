"""One command at a time over a folder."""

import fcntl
import getpass
import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import UsageError, disk_full, without_passwords

LOCK_FILE = ".lock"


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Holds the folder, which is made where it is missing. The system lets go when the process ends, however it ends.

    An object store has no locks: its folders are held on this machine only, against this user's other commands.

    Raises:
        UsageError: it cannot be written, or another process holds it.
    """
    path = lock_path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115 - closed below, when the lock is let go
    except OSError as error:
        if disk_full(error):
            raise
        raise UsageError(f"--storage is {folder}, which cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UsageError(
                f"{folder} is in use ({file.read().strip()}): wait for it, or name another --storage"
            ) from error
        except OSError as error:  # a network's file system without a lock service
            raise UsageError(
                f"--storage is {folder}, whose file system knows no locks ({error.strerror}): name another"
            ) from error
        file.truncate(0)
        with suppress(OSError):  # on a disk that is full it holds without a name
            command = without_passwords(" ".join(sys.argv))
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}: {command}\n".encode())
        yield


def lock_holder(folder: str) -> str | None:
    """Who holds the folder, in words; None where nobody on this machine does."""
    path = lock_path(folder)
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip()
    return None


def os_user() -> str:
    """To whom this machine's locks of object stores belong."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, under a number that has no name
        return str(os.getuid())


def lock_path(folder: str) -> Path:
    if "://" not in folder:
        return Path(folder) / LOCK_FILE
    name = hashlib.sha256(folder.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"vit-pipeline-{os.getuid()}" / f"{name}.lock"
