"""The errors that end a command, with their exit statuses; every module may raise them."""

import errno
import re
from collections.abc import Iterator

from vit.files.errors import StorageError

FAILED, BAD_USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130


class PipelineError(Exception):
    """A failure that is not due to the user's input; the message is one line, without the passwords of URIs in it."""

    status = FAILED

    def __init__(self, message: str) -> None:
        super().__init__(without_passwords(message))


class UsageError(PipelineError):
    """Bad input; the message names the flag, the value and the rule."""

    status = BAD_USAGE


class GateRefusedError(PipelineError):
    """The promotion gate refused; the message says why."""

    status = REFUSED


class InterruptedCommandError(PipelineError):
    """The user stopped the command; what was done is saved."""

    status = INTERRUPTED


def without_passwords(text: str) -> str:
    """Returns the text with the credentials of every URI in it replaced by `***`: `postgresql://***@host/db`.

    A password may contain a slash or an `@`, and a token may take the place of the user's name; so the pattern hides
    too much rather than too little.
    """
    text = re.sub(r"(?<=://)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@", "***@", text)
    return re.sub(r"([?&]\w*password=)[^&\s]*?(?=['\"),.:;]*(?:[&\s]|$))", r"\1***", text, flags=re.IGNORECASE)


def last_line(error: object) -> str:
    """Returns the last line of an error's message, which is where Ray puts the cause; empty if there is no message."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def disk_full(error: BaseException | None) -> str | None:
    """Returns a message for the user if a full disk caused the error, however it was wrapped by Python or Ray.

    Returns None if the error has another cause.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f": {cause.filename}" if cause.filename else ""
            return f"no space left{where}: make room, and run the same command again"
    return None


def storage_failure(error: BaseException | None) -> str | None:
    """Returns a message for the user if a full disk or an object store caused the error, however it was wrapped.

    Returns None if the error has another cause. After such a failure the same work succeeds later, so it must not be
    recorded as failed.
    """
    away = next((cause for cause in _causes(error) if isinstance(cause, StorageError)), None)
    if away is None:
        return disk_full(error)
    return f"{away} (all that was saved is there; run the same command again once the storage answers)"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields the error and what caused it, however it was wrapped by Python or Ray."""
    while isinstance(error, BaseException):
        yield error
        error = getattr(error, "cause", None) or error.__cause__
