"""Tests that fused trainings, saved at intervals, leave in each folder what a training alone would leave."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load as load_safetensors

from pipeline.training import fused_training
from pipeline.training.fused_training import Entry, FusedTraining
from pipeline.training.training import LoadedData, Training, TrainingContext
from pipeline.trials.folder import CONFUSION_FILE, TrialHistory, trial_folder
from tests.unit.pipeline.training.test_training import DATA, Killed, count_writes
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import WEIGHTS_FILE
from vit.fused.fit import FusedFit
from vit.model.config import ViTConfig
from vit.training.fit import Epoch, NonFiniteLossError
from vit.training.parallel import Workers
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime

MODEL = ViTConfig(img_size=8, in_chans=1, num_classes=2, embed_dim=8, depth=1, num_heads=1, global_pool="avg")
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=3e-3, ema_decay=0.5, flip=False, crop_padding=1)
SPECS = [
    TrialSpec(3, MODEL, RECIPE, seed=1),
    TrialSpec(5, MODEL, replace(RECIPE, learning_rate=1e-12), seed=1),  # its first epoch stays the best
]


def open_fused(base: Path, saved: Sequence[int] = (), specs: Sequence[TrialSpec] = SPECS) -> FusedTraining:
    data = LoadedData.of(DATA, torch.device("cpu"))
    return FusedTraining(specs, data, TrainingContext(str(base), "fp32", compile=False), Runtime(), saved)


def numbers(entries: list[tuple[int, Entry]]) -> list[tuple[int, int]]:
    """Returns the training's index and the epoch's number for each epoch that did not diverge."""
    return [(index, entry["epoch"]) for index, entry in entries if not isinstance(entry, NonFiniteLossError)]


def live(base: Path) -> list[tuple[int, int]]:
    """Resumes the trainings and runs them to the end, as one process does; returns the `numbers` of the epochs."""
    training, told = open_fused(base), []
    assert_weights_are_the_best(base)
    while any(len(training.history(spec.index).epochs) < RECIPE.epochs for spec in SPECS):
        told += numbers(training.run_epochs())
        assert_weights_are_the_best(base)
    return told


def assert_weights_are_the_best(base: Path) -> None:
    for spec in SPECS:
        folder = trial_folder(str(base), spec.index)
        best = TrialHistory.read(folder).best_epoch
        assert folder.exists(WEIGHTS_FILE) == (best > 0)
        if best:
            with safe_open(folder.path(WEIGHTS_FILE), "pt") as weights:
                assert weights.metadata() == {"epoch": str(best)}


def assert_same_results(base: Path, other: Path) -> None:
    """Compares the best epochs and the confusion matrices exactly, the losses and the weights up to rounding."""
    for spec in SPECS:
        left, right = trial_folder(str(base), spec.index), trial_folder(str(other), spec.index)
        ours, theirs = TrialHistory.read(left), TrialHistory.read(right)
        assert ours.best_epoch == theirs.best_epoch
        losses = [[epoch["metrics"]["val/loss"] for epoch in history.epochs] for history in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert left.read(CONFUSION_FILE) == right.read(CONFUSION_FILE)
        weights = [load_safetensors(folder.read(WEIGHTS_FILE)) for folder in (left, right)]
        torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=0)


def test_short_epochs_are_saved_together_and_leave_what_each_would_alone(tmp_path: Path) -> None:
    assert live(tmp_path / "fused") == [(index, epoch) for epoch in (1, 2, 3) for index in (3, 5)]
    data = LoadedData.of(DATA, torch.device("cpu"))
    for spec in SPECS:
        context = TrainingContext(str(tmp_path / "alone"), "fp32", compile=False)
        training = Training(spec, data, context, Runtime(), Workers())
        while not training.is_done:
            training.run_epoch()
    assert TrialHistory.read(trial_folder(str(tmp_path / "alone"), 5)).best_epoch == 1
    assert_same_results(tmp_path / "fused", tmp_path / "alone")


def test_an_epoch_after_which_something_is_decided_is_saved_at_once(tmp_path: Path) -> None:
    training = open_fused(tmp_path, saved=[1])
    assert numbers(training.run_epochs()) == [(3, 1), (5, 1)]
    assert [len(open_fused(tmp_path).history(spec.index).epochs) for spec in SPECS] == [1, 1]
    assert numbers(training.run_epochs()) == [(3, 2), (5, 2), (3, 3), (5, 3)]


def test_long_epochs_are_saved_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_training, "SECONDS_BETWEEN_SAVES", 0.0)  # each epoch takes longer than this
    training = open_fused(tmp_path)
    assert [numbers(training.run_epochs()) for _ in range(3)] == [[(3, epoch), (5, epoch)] for epoch in (1, 2, 3)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_dead_at_any_write(tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_training, "SAVED_AT_ONCE", 1)  # so that no other thread writes at the moment of a death
    with monkeypatch.context() as patched:
        counted = count_writes(patched)
        live(tmp_path / "undisturbed")
    writes = next(counted) - 1
    assert writes == 2 * len(["card", "history", "state", "weights", "confusion matrix"])
    for number in range(1, writes + 1):
        base = tmp_path / str(number)
        with monkeypatch.context() as patched:
            count_writes(patched, **{when: number})
            with pytest.raises(Killed):
                live(base)
        live(base)
        assert_same_results(base, tmp_path / "undisturbed")


def test_what_a_training_had_learnt_before_it_diverged_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_epoch, epochs = FusedFit.run_epoch, itertools.count(1)

    def poisoned(fit: FusedFit) -> list[Epoch | NonFiniteLossError]:
        outcomes = run_epoch(fit)
        if next(epochs) == 1:
            fit._state.weights[1] = torch.nan
        return outcomes

    monkeypatch.setattr(FusedFit, "run_epoch", poisoned)
    training = open_fused(tmp_path)
    entries = training.run_epochs()
    assert numbers(entries) == [(3, 1), (5, 1), (3, 2)]
    assert str(dict(entries)[5]) == "the training loss is not finite in epoch 2"
    assert_weights_are_the_best(tmp_path)
    assert [len(TrialHistory.read(trial_folder(str(tmp_path), spec.index)).epochs) for spec in SPECS] == [2, 1]
    assert numbers(training.run_epochs()) == [(3, 3)]
