"""Tests of which parts of a search are started, retried and split; an object replaces Ray's actors."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import ray

from pipeline.cluster.allotment import Allotment
from pipeline.search.driver import SearchDriver, SearchLimits
from pipeline.search.fused_groups import Fusing
from pipeline.search.fused_search import FusedSearch
from pipeline.search.fused_trials import Reply
from pipeline.search.reports import epoch_report
from pipeline.search.search import Search
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData
from pipeline.trials.ledger import Ledger
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

SPECS = [TrialSpec(index, ViTConfig(), Recipe(epochs=1), seed=index) for index in range(6)]
"""Trials of one shape and batch size, so that all of them can be fused."""
RUNGS = Rungs(1, 3, 1)
ENTRY = {"epoch": 1, "at": 0, "metrics": {"val/accuracy": 0.5, "val/loss": 1.0}}


@dataclass
class Machine:
    """The machine on which the trials' processes run, one at a time; each can hold at most `holds` trials."""

    begun: list[list[int]] = field(default_factory=list)
    """The indices of the trials that each process was given, in the order in which the processes were started."""
    holds: int = 6
    says_so: bool = True
    """Whether a process that is given more trials reports that it is out of memory; if not, it dies."""

    def begin(self, specs: Sequence[TrialSpec]) -> Reply:
        self.begun.append([spec.index for spec in specs])
        if len(specs) <= self.holds:
            return Reply([])
        if self.says_so:
            return Reply([], out_of_memory=True)
        raise ray.exceptions.RayError("killed by the memory killer")

    def next_epochs(self, ended: Collection[int]) -> Reply:
        return Reply([(index, epoch_report(ENTRY, 1, [], 1)) for index in self.begun[-1]])


class _Method:
    """A method of an actor."""

    def __init__(self, method: Callable[..., Reply]) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> Callable[[], Reply]:
        """Returns a function in place of Ray's reference; the `ray.get` of these tests calls it."""
        return lambda: self._method(*arguments)


class _Actor:
    def __init__(self, machine: Machine) -> None:
        self.begin, self.next_epochs = _Method(machine.begin), _Method(machine.next_epochs)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(FusedSearch, "_free_actor", lambda search: _Actor(machine))
    monkeypatch.setattr(FusedSearch, "_ready", lambda search, references: references[:1])
    monkeypatch.setattr(ray, "get", lambda reference: reference())
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    return machine


def run(specs: list[TrialSpec], has_time: bool = True, max_failures: int = 2) -> SearchDriver:
    """Runs a search that fuses all trials that can be fused; returns its driver afterwards."""
    folder = f"memory://{uuid4()}/trials"
    search = Search(
        specs, SharedData(None), TrainingContext(folder, "fp32", compile=False), RUNGS, Allotment(1, 0, 1), "", "",
        max_failures,
    )  # fmt: skip
    limits = SearchLimits(lambda: 1, lambda: has_time)
    driver = SearchDriver(specs, RUNGS, Ledger(folder, specs), [], limits, lambda: False)
    FusedSearch(search, driver).run(Fusing(len(specs)))
    return driver


def outcomes(driver: SearchDriver) -> dict[int, str]:
    return {record.index: record.outcome for record in driver.records}


def test_without_time_the_published_configuration_begins_and_no_other(machine: Machine) -> None:
    apart = TrialSpec(0, ViTConfig(depth=2), Recipe(epochs=1), seed=0)
    assert outcomes(run([apart, *SPECS[1:]], has_time=False)) == {0: "finished"}
    assert machine.begun == [[0]]


def test_without_time_what_the_memory_parted_from_the_published_configuration_waits(machine: Machine) -> None:
    machine.holds = 3
    assert outcomes(run(SPECS, has_time=False)) == dict.fromkeys([0, 2, 4], "finished")
    assert machine.begun == [[0, 1, 2, 3, 4, 5], [0, 2, 4]]


def test_trials_whose_process_dies_again_and_again_are_parted_until_it_holds_them(machine: Machine) -> None:
    """Ray's memory monitor kills a process without saying that memory was the reason."""
    machine.holds, machine.says_so = 2, False
    assert outcomes(run(SPECS[:4], max_failures=1)) == dict.fromkeys(range(4), "finished")
    assert machine.begun == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 2], [1, 3]]


def test_trials_whose_process_dies_with_few_of_them_wait_for_one_of_their_own(machine: Machine) -> None:
    machine.holds, machine.says_so = 1, False
    driver = run(SPECS[:3], max_failures=0)
    assert machine.begun == [[0, 1, 2]]
    assert [spec.index for spec in driver.waiting] == [0, 1, 2]
    assert outcomes(driver) == {}


def test_a_single_trial_whose_process_dies_again_and_again_has_failed(machine: Machine) -> None:
    machine.holds, machine.says_so = 0, False
    apart = TrialSpec(0, ViTConfig(depth=2), Recipe(epochs=1), seed=0)
    assert outcomes(run([apart, *SPECS[1:3]], max_failures=1)) == {0: "failed"}
    assert machine.begun == [[0], [0], [1, 2], [1, 2]]
