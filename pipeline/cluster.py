"""Starting or joining Ray, and what a trial may take of it."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from pipeline.config import TrialResources
from pipeline.exits import InterruptedCommandError, UsageError

# A trial stops between two epochs; Tune's own handler would cut the epoch short.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# Records are MLflow's business, and the terminal is `progress.py`'s.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# A process beside each training that would warn its workers; they save every epoch as it is.
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


@contextmanager
def connected(address: str | None, dashboard: bool = False) -> Iterator[None]:
    """Joins the Ray cluster at `address`, or starts one on this machine; leaves or stops it at the end.

    Ray Train asks the `dashboard` who still lives when it cleans up after workers; it takes seconds to start.
    """
    if ray.is_initialized():
        yield  # whoever connected first also disconnects
        return
    if address is not None:
        _refuse_silent(address)
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
        # Who is interrupted may leave threads behind that would crash without Ray: `pipeline.exits` ends all together.
        if not isinstance(sys.exception(), KeyboardInterrupt | InterruptedCommandError):
            ray.shutdown()


def _refuse_silent(address: str) -> None:
    """Ray itself tries for minutes. What is not HOST:PORT (`auto`), it looks up at once."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--address is {address}, but nothing answers there ({error})") from error


@dataclass(frozen=True)
class Allotment:
    """What each worker of a trial takes, and how many trials run at once."""

    cpus: float
    gpus: float
    concurrent: int
    workers: int = 1
    """Of one trial; they may stand on several nodes."""


def allot(
    resources: TrialResources, workers: int = 1, unit: str = "trial", workers_flag: str = "--workers-per-trial"
) -> Allotment:
    """Fits the request to the cluster; `unit` and `workers_flag` name the flags it came from.

    Raises:
        UsageError: the cluster can never hold one trial.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has_gpu = any(node.get("GPU", 0) for node in nodes)
    cpus = resources.cpus_per_trial
    gpus = float(has_gpu) if resources.gpus_per_trial is None else resources.gpus_per_trial
    for flag, kind, asked in ((f"--cpus-per-{unit}", "CPU", cpus), (f"--gpus-per-{unit}", "GPU", gpus)):
        most = max(node.get(kind, 0) for node in nodes)
        if asked > most:
            raise UsageError(f"{flag} is {asked:g}, but the largest node of this cluster has {most:g} {kind}s")
    slots = sum(_slots(node, cpus, gpus) for node in nodes)
    if slots == 0:
        raise UsageError(f"--cpus-per-{unit} {cpus:g} with --gpus-per-{unit} {gpus:g} fits on no node of this cluster")
    if slots < workers:
        raise UsageError(f"{workers_flag} is {workers}, but this cluster has room for {slots} workers")
    trials = slots // workers
    return Allotment(cpus, gpus, min(trials, resources.max_concurrent or trials), workers)


def cluster_cores() -> float:
    """All cores of the cluster, in use or not."""
    return float(ray.cluster_resources().get("CPU", 0))


def _slots(node: dict[str, float], cpus: float, gpus: float) -> int:
    """How many trials a node holds at once. A GPU is not shared across its edge: 0.4 fits twice, not 2.5 times."""
    by_cpu = int(node.get("CPU", 0) / cpus)
    if not gpus:
        return by_cpu
    by_gpu = int(node.get("GPU", 0)) * int(1 / gpus) if gpus <= 1 else int(node.get("GPU", 0) / gpus)
    return min(by_cpu, by_gpu)
