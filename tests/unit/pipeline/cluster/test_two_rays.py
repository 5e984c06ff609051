"""Tests that commands are left alone by another Ray on the same machine, whose dashboard does not know their actors.

Ray Train would take a training's controller that this dashboard does not know for dead, and end the workers.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException

from pipeline.cluster.connection import connected

pytestmark = pytest.mark.slow

ANOTHER_RAY = """
import ray
ray.init(address="local", num_cpus=1, include_dashboard=True, object_store_memory=100 * 2**20)
print("started", flush=True)
input()
"""


class Asking:
    def own_state(self) -> str:
        """What the state server that Ray Train would ask says of this actor."""
        try:
            found = get_actor(str(ray.get_runtime_context().get_actor_id()), timeout=60)
        except RayStateApiException:
            return "no answer"
        return "unknown" if found is None else str(found.state)


@contextmanager
def another_ray() -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER_RAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert any(b"started" in line for line in process.stdout)
        try:
            yield
        finally:
            process.stdin.write(b"\n")
            process.stdin.flush()


@pytest.mark.parametrize(("dashboard", "state"), [(False, "no answer"), (True, "ALIVE")])
def test_an_actor_is_not_looked_for_in_a_newer_ray(dashboard: bool, state: str) -> None:
    with connected(None, dashboard):
        asking: Any = ray.remote(Asking)
        actor = asking.remote()
        ray.get(actor.__ray_ready__.remote())
        with another_ray():
            assert ray.get(actor.own_state.remote()) == state
