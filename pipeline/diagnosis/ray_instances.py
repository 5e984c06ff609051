"""Finds out whether several Rays run on this machine, and which cluster `--address` means."""

import logging
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psutil

from pipeline.diagnosis.finding import Finding
from pipeline.errors import UsageError

GCS_SERVER = "gcs_server"
"""The process of which each Ray has exactly one, on its head node."""
ANSWER_TIMEOUT = 5.0


def check_rays(processes: Iterable[Any] | None = None) -> Iterator[Finding]:
    """Yields a finding if more than one Ray runs on this machine.

    Args:
        processes: objects whose `info` has pid, name, status and cmdline. None means those that `psutil.process_iter`
            gives.
    """
    if processes is None:
        processes = psutil.process_iter(["pid", "name", "status", "cmdline"])
    found = [process.info for process in processes if process.info["name"] == GCS_SERVER]
    alive = [info for info in found if info["status"] != psutil.STATUS_ZOMBIE]
    if len(alive) > 1:
        yield Finding(
            "ray", f"{len(alive)} Rays", f"on this machine ({'; '.join(map(_in_words, alive))})",
            "Ray may fail to clean up after dead workers: end the one that nobody needs",
            details={"pids": [info["pid"] for info in alive]},
        )  # fmt: skip


def _in_words(info: Mapping[str, Any]) -> str:
    options = dict(word.partition("=")[::2] for word in info["cmdline"] or [])  # None where it may not be read
    port, folder = options.get("--gcs_server_port", "0"), options.get("--session-dir", "")
    return f"process {info['pid']}" + (f", port {port}" if port != "0" else "") + (f", {folder}" if folder else "")


def find_cluster(address: str | None) -> str | None:
    """Returns HOST:PORT of the cluster at an address or, without an address, of the one that Ray would join, if any.

    Raises:
        UsageError: the address is not valid, or no cluster answers there.
    """
    from ray._private.services import canonicalize_bootstrap_address

    logging.getLogger("ray").setLevel(logging.ERROR)
    if address is not None and address.startswith("ray://"):
        raise UsageError(f"--address is {address}, but must be HOST:PORT of the cluster itself, or auto")
    try:
        found = str(canonicalize_bootstrap_address(address or "auto"))
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_TIMEOUT).close()
    except (OSError, ValueError, OverflowError) as error:  # Ray's own error if it finds no cluster is an OSError too
        if address is None:
            return None
        raise UsageError(f"--address is {address}, but no Ray cluster answers there ({error})") from error
    return found
