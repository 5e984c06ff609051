"""Starts or joins Ray."""

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.errors import InterruptedCommandError, UsageError


@contextmanager
def connected(address: str | None, dashboard: bool = False) -> Iterator[None]:
    """Joins the Ray cluster at `address`, or starts one on this machine; leaves or stops it at the end.

    When Ray Train cleans up after workers, it asks the `dashboard` which are still alive. Starting that takes seconds.
    """
    if ray.is_initialized():
        yield  # whoever connected first also disconnects
        return
    if address is not None:
        _refuse_unresponsive(address)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=dashboard if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is None:
            raise
        raise UsageError(
            f"--address is {address}, but no Ray cluster answers there (if it wants a token: RAY_AUTH_MODE=token)"
        ) from error
    try:
        yield
    finally:
        # An interrupted command may leave threads behind that would crash without Ray: `pipeline.terminal.exits` ends
        # all of them together.
        if not isinstance(sys.exception(), KeyboardInterrupt | InterruptedCommandError):
            ray.shutdown()


def _refuse_unresponsive(address: str) -> None:
    """Raises UsageError if nothing answers at HOST:PORT, where Ray itself would keep trying for minutes.

    Any other address, such as `auto`, is left to Ray, which looks it up immediately.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--address is {address}, but nothing answers there ({error})") from error
