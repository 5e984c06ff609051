"""The errors that end a command, with their exit statuses. Every module may raise them."""

import errno
import re

FAILED, BAD_USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130


class PipelineError(Exception):
    """Something failed that is not the user's input; the message is one line, and shows no password of a URI."""

    status = FAILED

    def __init__(self, message: str) -> None:
        super().__init__(without_passwords(message))


class UsageError(PipelineError):
    """Bad input; the message names the flag, the value and the rule."""

    status = BAD_USAGE


class GateRefusedError(PipelineError):
    """A gate said no; the message says why."""

    status = REFUSED


class InterruptedCommandError(PipelineError):
    """The user stopped the command; what was done is saved."""

    status = INTERRUPTED


def without_passwords(text: str) -> str:
    """The text with `***` for all that lets somebody in at each URI in it: `postgresql://***@host/db`.

    A password may hold a slash or an `@`, and a token may stand in the user's place; so rather too much is hidden.
    """
    text = re.sub(r"(?<=://)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@", "***@", text)
    return re.sub(r"([?&]\w*password=)[^&\s]*?(?=['\"),.:;]*(?:[&\s]|$))", r"\1***", text, flags=re.IGNORECASE)


def last_line(error: object) -> str:
    """The last line of what an error says, where Ray puts the cause; empty where it says nothing."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def disk_full(error: BaseException | None) -> str | None:
    """What to tell the user if a full disk is behind an error, whatever Python or Ray wrapped it in; else None."""
    while isinstance(error, BaseException):
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f": {error.filename}" if error.filename else ""
            return f"no space left{where}: make room, and run the same command again"
        error = getattr(error, "cause", None) or error.__cause__
    return None
