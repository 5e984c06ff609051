"""How a command ends: exit statuses, the errors behind them, and a parser that complains in one line."""

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import psutil

from vit.data import DataError

FAILED, BAD_USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130


class PipelineError(Exception):
    """Something failed that is not the user's input; the message is one line."""

    status = FAILED


class UsageError(PipelineError):
    """Bad input; the message names the flag, the value and the rule."""

    status = BAD_USAGE


class GateRefusedError(PipelineError):
    """A gate said no; the message says why."""

    status = REFUSED


class InterruptedCommandError(PipelineError):
    """The user stopped the command; what was done is saved."""

    status = INTERRUPTED


def disk_full(error: BaseException | None) -> str | None:
    """What to tell the user if a full disk is behind an error, whatever Python or Ray wrapped it in; else None."""
    while isinstance(error, BaseException):
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f": {error.filename}" if error.filename else ""
            return f"no space left{where}: make room, and run the same command again"
        error = getattr(error, "cause", None) or error.__cause__
    return None


class _HelpFormatter(argparse.HelpFormatter):
    """Shows a flag's default behind its help, where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return f"{action.help} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """Reports bad usage as one line, without the usage text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        fail(message, BAD_USAGE)


def fail(message: str, status: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def _end_with_ray(message: str, status: int) -> NoReturn:
    """Ends at once, with all processes below, where Ray runs: its threads would wait for what goes on there."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        fail(message, status)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(status)


def run_command(command: Callable[[], None]) -> None:
    """Runs a command's body and turns its errors into one line and an exit status."""
    try:
        command()
    except DataError as error:
        fail(str(error), BAD_USAGE)
    except InterruptedCommandError as error:
        _end_with_ray(str(error), error.status)
    except PipelineError as error:
        fail(str(error), error.status)
    except KeyboardInterrupt:
        _end_with_ray("interrupted", INTERRUPTED)
    except Exception as error:
        full = disk_full(error)
        if full is None:
            raise
        fail(full, FAILED)
