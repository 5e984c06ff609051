"""Tests of trials on several workers, in a cluster of four cores: how ASHA stops them, and that all is freed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import ray
from ray.util.state import list_actors

from pipeline.cluster.allotment import Allotment
from pipeline.search.tuner import run_search
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from pipeline.trials.rungs import Rungs
from tests.integration.commands import train_workers, wait_until
from tests.integration.digit_search import TINY, digit_search
from tune_spaces.trial_spec import TrialSpec
from vit.training.recipes import Recipe

pytestmark = pytest.mark.slow

RUNGS = Rungs(1, 2, 3)
HOPELESS = (2, 3, 5, 6)
KILLED_AT = 4
RECIPE = Recipe(epochs=RUNGS.max_epochs, batch_size=32, flip=False)
SPECS = [
    TrialSpec(index, TINY, replace(RECIPE, learning_rate=1e-9 if index in HOPELESS else 3e-3), seed=1)
    for index in range(8)
]


@pytest.fixture
def dashboard() -> Iterator[str]:
    """The dashboard, which Ray Train asks when it cleans up after workers, of a Ray with four logical cores."""
    context = ray.init(address="local", num_cpus=4, include_dashboard=True, log_to_driver=False)
    yield f"http://{context.dashboard_url}"
    ray.shutdown()


class _Workers(Observer):
    """Notes which workers train, and kills one of them when trial `KILLED_AT` has reported its first epoch."""

    def __init__(self) -> None:
        self.before_the_kill: set[psutil.Process] = set()
        self.killed: list[psutil.Process] = []

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        if self.killed:
            return
        alive = train_workers()
        self.before_the_kill |= set(alive)
        if spec.index == KILLED_AT:
            alive[0].kill()
            self.killed.append(alive[0])


def test_eight_trials_of_two_workers(dashboard: str, tmp_path: Path) -> None:
    """The same four workers train one trial after another, and those that die are replaced."""
    workers = _Workers()
    two_at_once = Allotment(cpus=1, gpus=0, concurrent=2, workers=2)
    search = digit_search(SPECS, tmp_path, RUNGS, two_at_once, max_failures=1)
    records = run_search(search, [workers], lambda: False)
    assert (len(workers.before_the_kill), len(workers.killed)) == (4, 1)
    assert [record.index for record in records] == list(range(8))
    outcomes = {record.index: record.outcome for record in records}
    assert outcomes[0] == "finished"  # the baseline is never stopped
    assert {outcomes[index] for index in HOPELESS} == {"asha"}
    assert set(outcomes.values()) == {"finished", "asha"}
    decisions = Ledger(str(tmp_path / "trials"), SPECS)
    for record in records:
        # The workers did not train a step beyond the epoch at which they were stopped.
        epochs = TrialHistory.read(trial_folder(str(tmp_path / "trials"), record.index)).epochs
        assert [entry["epoch"] for entry in epochs] == [epoch.number for epoch in record.epochs]
        assert len(epochs) == (RUNGS.max_epochs if record.outcome == "finished" else _stopped_at(decisions, record))
    started = {actor.class_name for actor in list_actors(address=dashboard, limit=1000)}
    assert "RayTrainWorker" in started
    assert "DatasetManager" not in started  # Ray Train's process for Ray Data sets, of which there are none
    # The cores that they held are free, and no placement group waits for resources or holds any.
    wait_until(lambda: ray.available_resources().get("CPU") == 4)
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}
    wait_until(lambda: not train_workers())


def _stopped_at(ledger: Ledger, record: TrialRecord) -> int:
    decision = ledger.decisions(record.index)[-1]
    assert not decision.go_on
    return decision.epoch
