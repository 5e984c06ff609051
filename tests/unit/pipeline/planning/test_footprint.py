"""Tests of estimated bytes against those of real states and weights, and of estimated rows against sums by hand."""

import io
from dataclasses import replace

import pytest
import torch

from pipeline.planning.footprint import METRICS_BESIDE_THE_CLASSES, disk_bytes, mlflow_rows, state_bytes, weights_bytes
from pipeline.planning.sweep_plan import SweepPlan
from pipeline.training.epoch_metrics import epoch_metrics
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.model.vision_transformer import count_parameters
from vit.training.fit import Fit
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

MODEL = ViTConfig(img_size=8, in_chans=1, embed_dim=64, num_heads=4, depth=2)
SPEC = TrialSpec(0, MODEL, Recipe(batch_size=4), seed=0)
PLAN = SweepPlan(
    specs=(SPEC, replace(SPEC, index=1, model=replace(MODEL, depth=1)), replace(SPEC, index=2)),
    rungs=Rungs(1, 3, 9), concurrent=2, final_concurrent=2, train_images=100, validation_images=20, test_images=30,
    finalists=2, seeds=3,
)  # fmt: skip


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_states_bytes_are_those_that_are_written(ema_decay: float) -> None:
    spec = replace(SPEC, recipe=replace(SPEC.recipe, ema_decay=ema_decay))
    split = Split(torch.zeros(4, 8, 8, 1, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    fit = Fit(spec.model, spec.recipe, Runtime(), split, split, Normalisation((0.5,), (0.5,)), seed=0)
    epoch = fit.run_epoch()
    state, weights = io.BytesIO(), io.BytesIO()
    torch.save(fit.state_dict(), state)
    torch.save(fit.kept_model.state_dict(), weights)
    # All images are of one class, and only a class with images has a metric.
    assert len(epoch_metrics(epoch, tuple("abcdefghij"))) == METRICS_BESIDE_THE_CLASSES + 1
    assert state_bytes(spec) == pytest.approx(len(state.getbuffer()), rel=0.05)
    assert weights_bytes(spec) == pytest.approx(len(weights.getbuffer()), rel=0.05)


def test_the_disk_holds_weights_twice_and_the_states_of_what_runs() -> None:
    large, small = (4 * count_parameters(spec.model) for spec in PLAN.specs[:2])
    trials, finalists, baseline = 2 * large + small, 3 * (large + small), 3 * large
    assert disk_bytes(PLAN) == 2 * (trials + finalists + baseline) + large + 2 * 2 * 3 * large


def test_the_states_of_all_that_are_trained_as_one_are_there_at_once() -> None:
    """One of two slots trains trials 0 and 2, the other the small one. Trial 7 is missing, as in a smaller sweep."""
    large, small = (state_bytes(spec) for spec in PLAN.specs[:2])
    fused = replace(PLAN, fused=((0, 2, 7),))
    assert disk_bytes(fused) - disk_bytes(PLAN) == 2 * small
    assert disk_bytes(replace(fused, concurrent=1)) - disk_bytes(replace(PLAN, concurrent=1)) == 2 * large


def test_there_are_no_more_finalists_than_trials_beside_the_published_one() -> None:
    assert replace(PLAN, finalists=1).num_finalists == 1
    assert replace(PLAN, finalists=5).num_finalists == 2
    assert disk_bytes(replace(PLAN, finalists=5)) == disk_bytes(PLAN)


def test_rows_in_mlflow_by_hand() -> None:
    # Each run has its parameters, 3 metrics of its best epoch and 15 more rows. Each epoch has 7 metrics, and 10 of the
    # classes; the finalists and the published configuration, three times each, have 2 and 10 on the test images, too.
    params = len(SPEC.params)
    runs = 3 + 3 * 2 + 3
    assert mlflow_rows(PLAN, trial_epochs=15, num_classes=10) == runs * (15 + 3 + params) + (15 + 9 * 9) * 17 + 9 * 12


def test_an_audited_trial_is_one_more_training() -> None:
    large, small = (weights_bytes(spec) for spec in PLAN.specs[:2])
    both = replace(PLAN, audited=7)  # more than there are besides the published one
    assert disk_bytes(both) - disk_bytes(PLAN) == 2 * (large + small)
    one_more = mlflow_rows(replace(PLAN, audited=1), 15, 10) - mlflow_rows(PLAN, 15, 10)
    assert one_more == 15 + 3 + len(SPEC.params) + 9 * 17
