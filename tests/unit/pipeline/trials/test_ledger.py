"""Tests that a driver reads back what an earlier driver stored about its trials."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args
from uuid import uuid4

import pytest

from pipeline.errors import PipelineError
from pipeline.trials.folder import HISTORY_FILE, TrialHistory, trial_folder
from pipeline.trials.ledger import Ledger
from pipeline.trials.records import RESUMABLE, EpochRecord, Outcome, TrialRecord
from pipeline.trials.rungs import Decision
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe


@pytest.fixture(params=["path", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The folder of the trials, once as a path and once as a URI."""
    return f"{tmp_path}/trials" if request.param == "path" else f"memory://{uuid4()}/trials"


FIRST = Decision(1, 0.1 + 0.2, cutoff=None, rank=1, of=1, go_on=True)
SECOND = Decision(3, 0.0, cutoff=2 / 3, rank=5, of=7, go_on=False)


def specs(count: int) -> list[TrialSpec]:
    return [TrialSpec(index, ViTConfig(), Recipe(learning_rate=0.1 / (index + 3)), index) for index in range(count)]


def epochs(count: int) -> list[EpochRecord]:
    return [
        EpochRecord(number, {"val/accuracy": 0.1 * number, "val/loss": 1 / 3}, at=1_700_000_000_000 + number)
        for number in range(1, count + 1)
    ]


def train(base: str, index: int, count: int) -> None:
    """Writes the history that the trial's process would have written after `count` epochs."""
    history = TrialHistory()
    for epoch in epochs(count):
        history.add(epoch.number, epoch.at or 0, epoch.metrics)
    history.write(trial_folder(base, index))


def record(spec: TrialSpec, outcome: Outcome, count: int, error: str | None = None) -> TrialRecord:
    """Returns the driver's record of a trial with the same `count` epochs."""
    return TrialRecord(spec, outcome, tuple(epochs(count)), error)


def test_a_new_folder_holds_nothing(base: str) -> None:
    ledger = Ledger(base, specs(3))
    assert (ledger.begun, ledger.ended, ledger.decisions(0)) == ([], {}, ())


def test_ended_trials_come_back_as_they_were(base: str) -> None:
    outcomes = [outcome for outcome in get_args(Outcome) if outcome not in RESUMABLE]
    trials = specs(len(outcomes))
    ledger = Ledger(base, trials)
    recorded = {}
    for spec, outcome in zip(trials, outcomes, strict=True):
        ledger.started(spec)
        if spec.index:
            train(base, spec.index, spec.index)
        recorded[spec.index] = record(spec, outcome, spec.index, "out of memory" if outcome == "failed" else None)
        ledger.end(recorded[spec.index])
    again = Ledger(base, trials)
    assert again.ended == recorded
    assert list(again.ended) == again.begun == list(range(len(trials)))


def test_the_digest_of_the_weights_is_kept(base: str) -> None:
    trials = specs(1)
    ledger = Ledger(base, trials)
    ledger.started(trials[0])
    train(base, 0, 2)
    ledger.end(replace(record(trials[0], "finished", 2), weights_digest="3f2a"))
    assert Ledger(base, trials).ended[0].weights_digest == "3f2a"


def test_an_interrupted_trial_has_begun_and_not_ended(base: str) -> None:
    trials = specs(3)
    ledger = Ledger(base, trials)
    for spec in (trials[2], trials[0]):
        ledger.started(spec)
        train(base, spec.index, 2)
        ledger.decided(spec.index, FIRST)
    ledger.end(record(trials[2], "interrupted", 2))
    again = Ledger(base, trials)
    assert (again.ended, again.begun) == ({}, [0, 2])
    finished = record(trials[2], "finished", 2)
    again.end(finished)
    assert Ledger(base, trials).ended == {2: replace(finished, decisions=(FIRST,))}


def test_decisions_survive(base: str) -> None:
    trials = specs(2)
    ledger = Ledger(base, trials)
    ledger.started(trials[1])
    for decided in ((FIRST,), (FIRST, SECOND)):
        ledger.decided(1, decided[-1])
        assert ledger.decisions(1) == Ledger(base, trials).decisions(1) == decided
    again = Ledger(base, trials)
    again.started(trials[1])  # the trial is resumed
    again.end(record(trials[1], "asha", 0))
    last = Ledger(base, trials)
    assert (last.decisions(0), last.decisions(1)) == ((), (FIRST, SECOND))
    assert last.ended == {1: replace(record(trials[1], "asha", 0), decisions=(FIRST, SECOND))}


@pytest.mark.parametrize(
    "changed",
    [
        lambda spec: replace(spec, seed=99),
        lambda spec: replace(spec, recipe=replace(spec.recipe, learning_rate=1e-3)),
        lambda spec: replace(spec, model=replace(spec.model, depth=7)),
    ],
    ids=["seed", "recipe", "model"],
)
def test_a_folder_with_another_trial_is_refused_by_its_path(
    base: str, changed: Callable[[TrialSpec], TrialSpec]
) -> None:
    trials = specs(2)
    ledger = Ledger(base, trials)
    for spec in trials:
        ledger.started(spec)
    message = f"{base}/00001 holds another trial 1 than this search: name another --storage"
    with pytest.raises(PipelineError, match=f"^{re.escape(message)}$"):
        Ledger(base, [trials[0], changed(trials[1])])
    assert Ledger(base, trials).begun == [0, 1]


def test_a_longer_search_goes_on_from_a_shorter_one(base: str) -> None:
    shorter = Ledger(base, specs(2))
    shorter.started(specs(2)[1])
    shorter.end(record(specs(2)[1], "finished", 0))
    longer = Ledger(base, specs(40))
    assert longer.ended == {1: record(specs(2)[1], "finished", 0)}
    longer.started(specs(40)[39])
    assert Ledger(base, specs(40)).begun == [1, 39]
    assert Ledger(base, specs(2)).begun == [1]


def test_a_broken_history_of_an_ended_trial_is_an_error_in_a_line(tmp_path: Path) -> None:
    spec = TrialSpec(0, ViTConfig(), Recipe(epochs=1), seed=0)
    ledger = Ledger(str(tmp_path), [spec])
    ledger.started(spec)
    ledger.end(TrialRecord(spec, "finished", ()))
    trial_folder(str(tmp_path), 0).write(HISTORY_FILE, b"")  # as a power cut may leave it
    with pytest.raises(PipelineError, match=r"/00000/history\.json is broken, and its trial has ended"):
        Ledger(str(tmp_path), [spec])
