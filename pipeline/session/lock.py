"""The lock that lets only one command at a time use a folder."""

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
    """Locks the folder, which is created if missing. The system releases the lock when the process ends in any way.

    An object store has no locks: its folders are locked on this machine only, against this user's other commands.

    Raises:
        UsageError: the folder cannot be written or locked, or another process has locked it.
    """
    path = lock_path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115 - closed below, when the lock is released
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
        except OSError as error:  # a network file system without a lock service
            raise UsageError(
                f"--storage is {folder}, whose file system does not support file locks ({error.strerror}): name another"
            ) from error
        file.truncate(0)
        with suppress(OSError):  # on a full disk, the lock still holds, but does not say who holds it
            command = without_passwords(" ".join(sys.argv))
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}: {command}\n".encode())
        yield


def lock_holder(folder: str) -> str | None:
    """Returns the line that the process holding the lock wrote about itself; None if no process here holds it."""
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
    """Returns the name of the user, to whom this machine's locks of object stores belong."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, with a user id that has no name
        return str(os.getuid())


def lock_path(folder: str) -> Path:
    if "://" not in folder:
        return Path(folder) / LOCK_FILE
    name = hashlib.sha256(folder.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"vit-pipeline-{os.getuid()}" / f"{name}.lock"
