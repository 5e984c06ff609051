"""Tests the watchdog on a real Ray without a dashboard, whose two cores another process holds."""

import contextlib
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from pipeline.cluster.allotment import Allotment
from pipeline.cluster.watchdog import Watchdog
from pipeline.search.tuner import run_search
from pipeline.training.distributed_training import Assignment
from pipeline.training.driver_loop import run_trainings
from pipeline.training.worker_group import WorkerGroupConfig
from tests.deadline import DEADLINE
from tests.integration.commands import wait_until
from tests.integration.digit_search import TINY, digit_search
from tune_spaces.trial_spec import TrialSpec
from vit.training.recipes import Recipe

pytestmark = pytest.mark.slow

SPEC = TrialSpec(0, TINY, Recipe(epochs=1, flip=False), seed=0)
SECOND = 1 / 60
"""A second, in minutes."""
HOLDER = """
import os, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
@ray.remote
class Holder:
    def pid(self):
        return os.getpid()
holder = Holder.options(num_cpus=2, name="night job").remote()
print(ray.get(holder.pid.remote()), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a Ray with two cores, to which this process is connected."""
    context: Any = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield context.address_info["address"]
    finally:
        ray.shutdown()


@contextlib.contextmanager
def everything_held(address: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Yields another process, whose actor holds both cores until its stdin is closed, and the pid of the actor."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, address], text=True, **pipes) as driver:
        assert driver.stdin is not None and driver.stdout is not None
        try:
            yield driver, int(driver.stdout.readline())
        finally:
            driver.stdin.close()


@contextlib.contextmanager
def at_last(end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` if the block takes too long, so that the test fails instead of hanging if the watchdog is silent."""
    timer = threading.Timer(DEADLINE, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def test_it_names_who_holds_and_what_waits(address: str) -> None:
    @ray.remote
    class Holder:
        def ready(self) -> bool:
            return True

    said: list[str] = []
    holder = Holder.options(num_cpus=0.5, name="somebody").remote()  # type: ignore[attr-defined]
    ray.get(holder.ready.remote())
    waiting = [placement_group([{"CPU": 2}], name="too much now"), placement_group([{"CPU": 3}], name="too much ever")]
    try:
        with Watchdog(SECOND / 2, said.append):
            wait_until(lambda: said and "CPU 0.5 of 2 held" in said[-1], deadline=DEADLINE)
    finally:
        ray.kill(holder)
        for group in waiting:
            remove_placement_group(group)
    lines = said[-1].splitlines()
    assert re.fullmatch(r"nothing has progressed for [\d.]+ seconds?: CPU 0\.5 of 2 held, GPU 0 of 0 held", lines[0])
    assert re.fullmatch(r"  CPU 0\.5 held by actor Holder 'somebody', pid \d+ on [\d.]+", lines[1])
    assert lines[2:] == [
        "  placement group too much ever waits for CPU 3: no node of this cluster could ever hold it",
        "  placement group too much now waits for CPU 2: too little of it is free",
        "  no trial is under way",
    ]


def test_a_search_that_finds_every_core_held_by_somebody_else(address: str, tmp_path: Path) -> None:
    said: list[tuple[float, str]] = []
    with everything_held(address) as (driver, holder):
        assert driver.stdin is not None
        release = driver.stdin.close

        def say(text: str) -> None:
            said.append((time.monotonic(), text))
            if "placement group" in text:  # Tune is waiting for a slot
                release()

        with at_last(release), Watchdog(SECOND, say) as watchdog:
            started = time.monotonic()
            (record,) = run_search(digit_search([SPEC], tmp_path), [watchdog], lambda: False)
    assert record.outcome == "finished"
    assert said and said[0][0] - started < 20
    telling = [text.splitlines() for _, text in said if "placement group" in text]
    assert telling, said
    lines = telling[0]
    assert lines[0].endswith(": CPU 2 of 2 held, GPU 0 of 0 held")
    actor = rf"actor Holder 'night job', pid {holder} on (\S+)"
    assert re.fullmatch(rf"  CPU 2 held by {actor}, of another driver \(pid {driver.pid} on \1\)", lines[1])
    assert re.fullmatch(r"  placement group \w{8} waits for CPU 1: too little of it is free", lines[2])
    assert lines[-1] == "  no trial is under way"


def test_a_training_that_finds_every_core_held_ends_when_it_is_asked_to(address: str, tmp_path: Path) -> None:
    asked, search = threading.Event(), digit_search([SPEC], tmp_path)
    with everything_held(address) as (driver, _):
        assert driver.stdin is not None
        with at_last(driver.stdin.close), Watchdog(SECOND, lambda text: asked.set()) as watchdog:
            assignment = Assignment(search.specs[0], search.context, [watchdog])
            workers = WorkerGroupConfig(1, 1, cpus=1, gpus=0, folder=str(tmp_path), max_failures=0)
            (record,) = run_trainings([assignment], search.data, workers, asked.is_set)
        assert driver.poll() is None  # the cores are still held
    # A command would end here. This process continues, and could crash minutes later if Ray shut down under the thread.
    wait_until(lambda: all(thread.name != "ray-train" for thread in threading.enumerate()), deadline=DEADLINE)
    assert (record.outcome, record.epochs) == ("interrupted", ())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_that_finds_every_core_held_ends_when_it_is_asked_to(
    address: str, tmp_path: Path, workers: int
) -> None:
    """With one worker, Ray Tune waits for the trial's process; with several, that process waits for the workers."""
    asked, said = threading.Event(), list[str]()

    def say(text: str) -> None:
        said.append(text)
        if re.search(r"placement group .* waits for .*CPU 1", text):
            asked.set()

    with everything_held(address) as (driver, _):
        assert driver.stdin is not None
        with at_last(driver.stdin.close), Watchdog(SECOND, say) as watchdog:
            search = digit_search([SPEC], tmp_path, allotment=Allotment(1, 0, 1, workers))
            records = run_search(search, [watchdog], asked.is_set)
        assert driver.poll() is None  # the cores are still held
    assert asked.is_set(), said
    # A trial that never started has no record.
    assert [(record.outcome, record.epochs) for record in records] == [("interrupted", ())] * (workers - 1)
