"""A file that a command is to write its result to, refused before there is one."""

import os
from pathlib import Path

from pipeline.errors import UsageError


def refuse_unwritable_file(flag: str, file: str | Path | None) -> None:
    """Raises UsageError where it could not be written: after hours that would be too late."""
    if file is None:
        return
    path = Path(file).resolve()
    if not path.parent.is_dir():
        raise UsageError(f"{flag} is {file}, but its folder does not exist")
    if path.is_dir():
        raise UsageError(f"{flag} is {file or path}, but must be a file: that is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{flag} is {file}, which cannot be written: permission denied")
