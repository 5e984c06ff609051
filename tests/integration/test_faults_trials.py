"""Tests of trials that diverge, do not fit into memory or lose their process: the others continue unaffected."""

import re
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.search.tuner import run_search
from pipeline.tracking.trial_runs import trial_key
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord
from pipeline.trials.rungs import Rungs
from tests.integration.commands import client_of, title_of
from tests.integration.digit_search import TINY, digit_search, recorded_runs
from tune_spaces.trial_spec import TrialSpec
from vit.training.recipes import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

EPOCHS = 4


class _KillsTheProcess(Observer):
    """Kills the trials' only process when a given trial has reported a given epoch."""

    def __init__(self, trial: int, epoch: int) -> None:
        self._at = (trial, epoch)
        self.killed: list[int] = []

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        if (spec.index, epoch.number) != self._at:
            return
        children = psutil.Process().children(recursive=True)
        # The process has the second title while it trains, and the first between two epochs.
        (process,) = (child for child in children if re.match("ray::(Trial|ResourceTrainable)", title_of(child)))
        self.killed.append(process.pid)
        process.send_signal(signal.SIGKILL)


def test_trials_that_diverge_find_no_memory_or_lose_their_process(tmp_path: Path) -> None:
    recipe = Recipe(epochs=EPOCHS, batch_size=32, flip=False)
    diverging = TrialSpec(0, TINY, replace(recipe, learning_rate=1e30), seed=0)
    too_large = TrialSpec(1, replace(TINY, in_chans=2**42), recipe, seed=0)  # 9 PB for the first weight
    # These differ only in their index, so that the second shows what the first would have been without the kill.
    killed, whole = (TrialSpec(index, TINY, recipe, seed=7) for index in (2, 3))
    killer = _KillsTheProcess(trial=2, epoch=2)
    search = digit_search([diverging, too_large, killed, whole], tmp_path)
    with recorded_runs(tmp_path) as runs:
        records = run_search(search, [runs, killer], lambda: False)
    assert len(killer.killed) == 1
    assert [record.outcome for record in records] == ["diverged", "failed", "finished", "finished"]
    assert records[0].error == "the training loss is not finite in epoch 1"
    assert str(records[1].error).startswith("out of memory: ")
    epochs = [[(epoch.number, epoch.loss, epoch.accuracy) for epoch in record.epochs] for record in records]
    assert epochs[:2] == [[], []]
    assert [number for number, _, _ in epochs[2]] == list(range(1, EPOCHS + 1))
    assert epochs[2] == epochs[3]

    client = client_of(tmp_path)
    first, second, *others = (client.get_run(runs.tracker.run_id(trial_key(index))) for index in range(4))
    assert (first.info.status, first.data.tags["pipeline.stopped"]) == ("KILLED", "diverged")
    assert first.data.tags["pipeline.error"] == records[0].error
    assert (second.info.status, second.data.tags["pipeline.error"]) == ("FAILED", records[1].error)
    for run in others:
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "val/loss")
        assert [(entry.step, entry.value) for entry in history] == [(number, loss) for number, loss, _ in epochs[2]]


@pytest.mark.parametrize("rungs", [Rungs(1, 3, 3), Rungs(2, 3, 6)], ids=["in the rung's epoch", "before the rung"])
def test_a_trial_that_diverges_stands_on_its_rung_as_the_worst(tmp_path: Path, rungs: Rungs) -> None:
    """This needs Ray Tune itself, which does not ask its scheduler about a report that ends a trial."""
    recipe = Recipe(epochs=rungs.max_epochs, batch_size=32, flip=False)
    diverging = replace(recipe, learning_rate=1e30)
    recipes = [recipe, diverging, diverging, diverging, recipe]
    specs = [TrialSpec(index, TINY, each, seed=7) for index, each in enumerate(recipes)]
    records = run_search(digit_search(specs, tmp_path, rungs), [], lambda: False)
    assert [record.outcome for record in records] == ["finished", "diverged", "diverged", "diverged", "finished"]
    assert [[decision.of for decision in record.decisions] for record in records] == [[1], [2], [3], [4], [5]]
    assert [record.decisions[0].accuracy for record in records[1:4]] == [0.0] * 3
    assert [record.decisions[0].go_on for record in records] == [True, False, False, False, True]
