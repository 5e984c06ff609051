"""Tests of a worker's instructed training: what it finds in the folder, and what a later driver finds there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.training.instruction import Instruction
from pipeline.training.training import LoadedData, Training, TrainingContext
from pipeline.training.worker_loop import _InstructedTraining
from pipeline.trials.folder import HISTORY_FILE, TrialHistory
from pipeline.trials.ledger import Ledger
from pipeline.trials.records import TrialRecord
from tests.unit.pipeline.training.test_training import DATA, SPECS
from tune_spaces.trial_spec import TrialSpec
from vit.training.parallel import Workers

SPEC = SPECS["better"]


def instructed(base: Path, spec: TrialSpec = SPEC) -> _InstructedTraining:
    """Returns the training that a worker begins when it has just started."""
    instruction = Instruction(spec, TrainingContext(str(base), "fp32", compile=False), spec.recipe.epochs)
    cpu = torch.device("cpu")
    return _InstructedTraining(instruction, LoadedData.of(DATA, cpu), cpu, Workers())


def train(training: _InstructedTraining, until: int) -> None:
    """Trains to the end of epoch `until`, as a worker does when its instruction says so."""
    while training.goes_on(until):
        training.run_epoch(until)


def test_a_training_that_diverged_in_its_first_epoch_is_known_by_the_next_driver(tmp_path: Path) -> None:
    spec = replace(SPEC, recipe=replace(SPEC.recipe, learning_rate=1e30, warmup_epochs=0))
    ledger = Ledger(str(tmp_path), [spec])
    ledger.started(spec)
    training = instructed(tmp_path, spec)
    train(training, spec.recipe.epochs)
    reason = TrialHistory.read(training.folder).diverged
    assert reason is not None and reason.endswith("is not finite in epoch 1")
    ended = TrialRecord(spec, "diverged", (), reason)
    ledger.end(ended)
    assert Ledger(str(tmp_path), [spec]).ended == {spec.index: ended}


@pytest.mark.parametrize("lost", [b"", None], ids=["empty", "an epoch behind the state"])
@pytest.mark.parametrize("until", [1, 2])
def test_a_history_that_is_behind_the_state_has_no_epoch_trained_too_much(
    tmp_path: Path, until: int, lost: bytes | None
) -> None:
    """A power cut may leave the files like this, or a process that died between the two writes."""
    first = instructed(tmp_path)
    folder = first.folder
    train(first, until - 1)
    behind = folder.read(HISTORY_FILE) if until > 1 else b"{}"
    train(first, until)
    folder.write(HISTORY_FILE, behind if lost is None else lost)
    train(instructed(tmp_path), until)
    assert [entry["epoch"] for entry in TrialHistory.read(folder).epochs] == list(range(1, until + 1))


def test_what_has_ended_needs_no_state(tmp_path: Path) -> None:
    """Only the best weights of a training that has ended are kept."""
    train(instructed(tmp_path), SPEC.recipe.epochs)
    ended = instructed(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "__init__", lambda *arguments: pytest.fail("it is made anew"))
        train(ended, SPEC.recipe.epochs)
