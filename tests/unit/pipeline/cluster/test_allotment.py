"""Tests of what a trial gets of a cluster, and leaves of it, on a real Ray with 2 cores and 1 (logical) GPU."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import torch

from pipeline.cluster.allotment import Allotment, _slots, allot
from pipeline.cluster.connection import connected
from pipeline.config import TrialResources
from pipeline.errors import UsageError
from pipeline.training import evaluation, precision
from tests.deadline import DEADLINE
from tests.integration.commands import wait_until
from vit.data.arrays import ImageArrays
from vit.files.storage import Folder
from vit.model.config import ViTConfig


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False,
        object_store_memory=100 * 2**20,
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "localhost:{port}"])
def test_an_address_where_nothing_answers_is_refused_in_seconds(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not ray.is_initialized()
    address, started = form.format(port=port), time.monotonic()
    with (
        pytest.raises(UsageError, match=f"--address is {address}, but nothing answers there"),
        connected(address),
    ):
        pytest.fail("connected to nothing")
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=f"--address is {address}, but"), connected(address):
        pytest.fail("connected to nothing")


def test_a_second_connection_leaves_the_first_one_open(cluster: None) -> None:
    with connected(None):
        assert ray.is_initialized()
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (TrialResources(), Allotment(1, 1, 1)),  # there is only one GPU
        (TrialResources(gpus_per_trial=0), Allotment(1, 0, 2)),
        (TrialResources(gpus_per_trial=0.5), Allotment(1, 0.5, 2)),
        (TrialResources(gpus_per_trial=0.5, cpus_per_trial=2), Allotment(2, 0.5, 1)),
        (TrialResources(gpus_per_trial=0.25, cpus_per_trial=0.5), Allotment(0.5, 0.25, 4)),
        (TrialResources(gpus_per_trial=0.25, cpus_per_trial=0.5, max_concurrent=3), Allotment(0.5, 0.25, 3)),
        (TrialResources(gpus_per_trial=0, max_concurrent=64), Allotment(1, 0, 2)),
    ],
)
def test_what_a_trial_gets(cluster: None, resources: TrialResources, expected: Allotment) -> None:
    assert allot(resources) == expected


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (TrialResources(gpus_per_trial=2), "--gpus-per-trial is 2, but the largest node of this cluster has 1 GPUs"),
        (TrialResources(cpus_per_trial=64), "--cpus-per-trial is 64, but the largest node of this cluster has 2 CPUs"),
        (TrialResources(cpus_per_trial=2.5), "--cpus-per-trial is 2.5, but the largest node of this"),
    ],
)
def test_more_than_any_node_has_is_refused(cluster: None, resources: TrialResources, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        allot(resources)
    assert str(refused.value).startswith(message)


def test_a_process_that_used_a_gpu_gives_it_back(
    cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kept for a next task, it would hold its memory, and would stay on its GPU if the task were given another one."""
    gpu, images = Allotment(1, 1, 1), ImageArrays(np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, np.int64))
    monkeypatch.setattr(precision, "_probe", lambda *anything: os.getpid())
    monkeypatch.setattr(evaluation, "_evaluate", lambda *anything: os.getpid())
    processes: list[Any] = [precision.measure_faster_precision(ViTConfig(), 8, False, gpu, joined_cluster=False)]
    processes += evaluation.evaluate_on_test([Folder(str(tmp_path))], images, gpu, with_mirror=False)
    wait_until(lambda: not any(psutil.pid_exists(process) for process in processes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="here torch can use a GPU")
def test_a_gpu_that_torch_cannot_use_is_refused(cluster: None) -> None:
    with pytest.raises(UsageError, match=r"torch cannot use it .*: to train without it, give --gpus-per-trial 0"):
        precision.measure_faster_precision(ViTConfig(), 8, False, Allotment(1, 1, 1), joined_cluster=False)


class Gate:
    """Opens when all expected tasks have arrived; it stays shut if one of them cannot start."""

    def __init__(self, expected: int) -> None:
        self.missing, self.open = expected, asyncio.Event()

    async def arrive(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            self.open.set()
        await self.open.wait()


def pass_gate(gate: Any) -> None:
    ray.get(gate.arrive.remote())


def test_as_many_run_at_once_as_were_allotted(cluster: None) -> None:
    allotment = allot(TrialResources(gpus_per_trial=0.5))

    gate: Any = ray.remote(num_cpus=0)(Gate).remote(allotment.concurrent)
    trial: Any = ray.remote(num_cpus=allotment.cpus, num_gpus=allotment.gpus)(pass_gate)
    ray.get([trial.remote(gate) for _ in range(allotment.concurrent)], timeout=DEADLINE)


@pytest.mark.parametrize(
    ("cpus_there", "gpus_there", "cpus", "gpus", "slots"),
    [
        (16, 0, 1, 0, 16),
        (16, 0, 3, 0, 5),
        (16, 2, 1, 0.4, 4),  # two on each GPU, and none across both
        (16, 8, 1, 3, 2),
        (2, 8, 1, 1, 2),
        (16, 0, 1, 1, 0),
        (16, 1, 0.1, 0.1, 10),
        (7, 0, 0.07, 0, 100),  # 7 / 0.07 is a little less than 100
        (7, 0, 0.28, 0, 25),
    ],
)
def test_how_many_fit_on_a_node(cpus_there: int, gpus_there: int, cpus: float, gpus: float, slots: int) -> None:
    assert _slots({"CPU": cpus_there, "GPU": gpus_there}, cpus, gpus) == slots
