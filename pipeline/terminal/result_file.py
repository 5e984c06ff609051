"""Checks that a command can write its result to a file, before there is a result."""

import os
from pathlib import Path

from pipeline.errors import UsageError


def refuse_unwritable_file(flag: str, file: str | Path | None) -> None:
    """Raises UsageError if the file cannot be written: to find that out after hours of work would be too late."""
    if file is None:
        return
    path = Path(file).resolve()
    if not path.parent.is_dir():
        raise UsageError(f"{flag} is {file}, but its folder does not exist")
    if path.is_dir():
        raise UsageError(f"{flag} is {file or path}, but must be a file: that is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{flag} is {file}, which cannot be written: permission denied")
