"""How a command ends: its error is printed in one line, and it exits with a status."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import psutil

from pipeline.errors import BAD_USAGE, FAILED, INTERRUPTED, InterruptedCommandError, PipelineError, storage_failure
from vit.data.arrays import DataError


def exit_with_error(message: str, status: int) -> NoReturn:
    _print_error(message)
    sys.exit(status)


def _print_error(message: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be reading any more
        print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _exit_without_waiting(message: str, status: int) -> NoReturn:
    """Exits with an error. Where Ray runs, kills all child processes and exits immediately.

    In an orderly exit, the threads of this process would wait for the work that is still going on in Ray.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        exit_with_error(message, status)
    _print_error(message)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(status)


def run_command(command: Callable[[], None]) -> None:
    """Runs a command's body and turns its errors into one line and an exit status."""
    try:
        command()
    except DataError as error:
        exit_with_error(str(error), BAD_USAGE)
    except InterruptedCommandError as error:
        _exit_without_waiting(str(error), error.status)
    except PipelineError as error:
        exit_with_error(str(error), error.status)
    except KeyboardInterrupt:
        _exit_without_waiting("interrupted", INTERRUPTED)
    except Exception as error:
        failure = storage_failure(error)
        if failure is None:
            raise
        exit_with_error(failure, FAILED)
