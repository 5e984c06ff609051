"""The resources that a trial takes of the cluster, and how many trials run at the same time."""

from dataclasses import dataclass

import ray

from pipeline.config import TrialResources
from pipeline.errors import UsageError

ROUNDING = 1e-9
"""A tolerance for rounding: 7 cores hold 100 times 0.07 cores, though 7 / 0.07 is computed as a little less."""


@dataclass(frozen=True)
class Allotment:
    """The resources that each worker of a trial takes, and how many trials run at the same time."""

    cpus: float
    gpus: float
    concurrent: int
    workers: int = 1
    """The number of workers of one trial; they may be on several nodes."""


def allot(
    resources: TrialResources, workers: int = 1, unit: str = "trial", workers_flag: str = "--workers-per-trial"
) -> Allotment:
    """Fits the requested resources to the cluster.

    `unit` and `workers_flag` name the flags that the request came from, for the error messages.

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
    """Returns the number of all cores of the cluster, in use or not."""
    return float(ray.cluster_resources().get("CPU", 0))


def _slots(node: dict[str, float], cpus: float, gpus: float) -> int:
    """Returns how many workers a node holds at the same time.

    A worker's fraction of a GPU must lie on a single GPU: 0.4 fits on each GPU twice, not 2.5 times.
    """
    by_cpu = int(node.get("CPU", 0) / cpus + ROUNDING)
    if not gpus:
        return by_cpu
    by_gpu = int(node.get("GPU", 0)) * int(1 / gpus + ROUNDING) if gpus <= 1 else int(node.get("GPU", 0) / gpus)
    return min(by_cpu, by_gpu)
