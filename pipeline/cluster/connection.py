"""Starts or joins Ray."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.errors import InterruptedCommandError, UsageError

STATE_SERVER = "RAY_API_SERVER_ADDRESS"
"""The environment variable that tells Ray's processes which dashboard knows the state of their cluster."""


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
        _join(address)
    else:
        _start(dashboard)
    try:
        yield
    finally:
        # An interrupted command may leave threads behind that would crash without Ray: `pipeline.terminal.exits` ends
        # all of them together.
        if not isinstance(sys.exception(), KeyboardInterrupt | InterruptedCommandError):
            ray.shutdown()


def _join(address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--address is {address}, but no Ray cluster answers there (if it wants a token: RAY_AUTH_MODE=token)"
        ) from error


def _start(dashboard: bool) -> None:
    """Starts Ray on this machine, and tells its processes that only its own dashboard, if any, knows its actors.

    Left to itself, Ray Train asks the newest Ray of the machine whether a training's controller is alive. If that is
    another Ray, it does not know the controller, and Ray Train ends the workers in the middle of the training.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = os.environ.get(STATE_SERVER)
    os.environ[STATE_SERVER] = f"http://127.0.0.1:{port}"
    try:
        ray.init(
            address="local",
            include_dashboard=dashboard,
            dashboard_port=port,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    finally:
        del os.environ[STATE_SERVER]
        if before is not None:
            os.environ[STATE_SERVER] = before


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
