"""Tests of the estimated time of each of a sweep's stages, against sums worked out by hand."""

from dataclasses import replace

import pytest

from pipeline.planning import estimate
from pipeline.planning.cost import Calibration, TimedModel
from pipeline.planning.estimate import sweep_estimate
from pipeline.planning.footprint import state_bytes
from pipeline.planning.sweep_plan import SweepPlan
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.timing.step_times import StepTimes
from vit.training.recipes import Recipe


def model_of(depth: int) -> ViTConfig:
    return ViTConfig(img_size=8, in_chans=1, embed_dim=32, num_heads=4, depth=depth)


# Per block, a training step takes 10 s and a batch of validation or test images takes 1 s, whatever the batch's size.
MEASURED = tuple(
    TimedModel(model_of(depth), StepTimes(10.0 * depth, batch_size, float(depth) / batch_size))
    for depth, batch_size in ((1, 10), (2, 40), (4, 10))
)
CALIBRATION = Calibration(MEASURED, start_seconds=2.0, precision="fp32")
SPECS = tuple(
    TrialSpec(index, model_of(depth), Recipe(batch_size=10), seed=index) for index, depth in enumerate((2, 1, 4, 1))
)
PLAN = SweepPlan(
    SPECS, Rungs(9, 3, 9), concurrent=2, final_concurrent=2, train_images=10, validation_images=10, test_images=20,
    finalists=3, seeds=1,
)  # fmt: skip


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the overheads to round numbers, those of a trial and of saving to zero, so that the sums are short."""
    monkeypatch.setattr(estimate, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(estimate, "EPOCH_SECONDS", 0.0)
    monkeypatch.setattr(estimate, "SAVED_BYTES_PER_SECOND", float("inf"))
    monkeypatch.setattr(estimate, "RAY_TRAIN_STARTS", 3.0)


def test_the_stages_by_hand(plain: None) -> None:
    """ASHA stops nothing; an epoch takes 22, 11, 44 and 11 s in trials 0 to 3; starting a process takes 2 s.

    Search: the baseline holds a slot for 6 + 9 * 22 = 204 s. Meanwhile, trial 0 runs in the other slot from 2 to 200 s,
    and trial 1 from there to 299 s. Trial 2 runs from 206 to 602 s in the baseline's slot, and trial 3 from 299 to
    398 s in the other.
    Finalists: there are 3 for 2 slots. Workers start once (6 s) and then run up to two trainings of 9 epochs, each
    epoch taking 11 s (the median) or 44 s at worst.
    Test images: they take 2 s for the published configuration and 1 s, or 4 s at worst, for each finalist; two models
    are evaluated at the same time.
    """
    result = sweep_estimate(CALIBRATION, PLAN)
    expected = {"search": 602, "confirm": 6 + 2 * 9 * 11, "evaluate": 2 * estimate.EVALUATE_STARTS + 5 / 2}
    worst = {"search": 602, "confirm": 6 + 2 * 9 * 44, "evaluate": 2 * estimate.EVALUATE_STARTS + 14 / 2}
    assert list(result.stages) == ["start", "prepare", "search", "confirm", "evaluate", "register", "report"]
    for name in expected:
        assert result.stages[name].expected == pytest.approx(expected[name])
        assert result.stages[name].worst == pytest.approx(worst[name])
    others = 2 * (estimate.COMMAND_STARTS + estimate.PREPARE_STARTS + estimate.REGISTER_STARTS + estimate.REPORT_STARTS)
    assert result.total.expected == pytest.approx(others + sum(expected.values()))
    assert result.total.worst == pytest.approx(others + sum(worst.values()))


def test_trials_that_are_trained_as_one_take_less_of_the_search_alone(plain: None) -> None:
    """Fusing makes trials 1, 2 and 3 twice, four times and twice as fast.

    In one slot, trial 0 runs from 2 to 200 s, trial 1 from there to 249.5 s, and trial 3 from there to 299 s. In the
    other, which the baseline has held, trial 2 runs from 206 to 305 s.
    """
    fused = replace(CALIBRATION, fusing_gains={1: 2.0, 2: 4.0, 3: 2.0})
    result, without = sweep_estimate(fused, PLAN), sweep_estimate(CALIBRATION, PLAN)
    assert result.search.worst_seconds == pytest.approx(305)
    assert result.stages["confirm"] == without.stages["confirm"]


def test_audited_trials_are_trained_to_their_full_length(plain: None) -> None:
    """Three trials run in two slots: one start and two trainings of 9 epochs, of 11 s each (the median) or 44 s."""
    without, audited = sweep_estimate(CALIBRATION, PLAN), sweep_estimate(CALIBRATION, replace(PLAN, audited=7))
    assert (audited.stages["audit"].expected, audited.stages["audit"].worst) == pytest.approx((2 + 198, 2 + 792))
    assert "audit" not in without.stages
    assert audited.total.expected == pytest.approx(without.total.expected + 200)


def test_a_baseline_that_outlasts_the_search_decides(plain: None) -> None:
    result = sweep_estimate(CALIBRATION, replace(PLAN, seeds=5))
    baseline = 6 + 5 * 9 * 22
    assert result.search.worst_seconds < baseline
    assert result.stages["search"].expected == result.stages["search"].worst == pytest.approx(baseline)


def test_where_the_baseline_does_not_run_the_search_has_all_slots_at_once(plain: None) -> None:
    """From 2 s on, trials 0 and 3 run in one slot to 200 and 299 s, trials 1 and 2 in the other to 101 and 497 s."""
    result = sweep_estimate(CALIBRATION, replace(PLAN, held=0, seeds=5))
    assert result.stages["search"].worst == pytest.approx(497)
    assert result.baseline.expected == pytest.approx(6 + 5 * 9 * 22)


def test_trials_that_have_ended_before_take_none_of_the_search(plain: None) -> None:
    """Trial 3 runs from 2 to 101 s, in the slot that the baseline does not hold."""
    ended = sweep_estimate(CALIBRATION, replace(PLAN, ended=frozenset({0, 1, 2})))
    assert ended.search.worst_seconds == ended.search.expected_seconds == pytest.approx(101)
    assert ended.stages["confirm"] == sweep_estimate(CALIBRATION, PLAN).stages["confirm"]


def test_on_one_place_the_search_waits_for_the_baseline(plain: None) -> None:
    result = sweep_estimate(CALIBRATION, replace(PLAN, concurrent=1))
    assert result.stages["search"].expected == pytest.approx(204 + 2 + 9 * (22 + 11 + 44 + 11))


@pytest.mark.parametrize(
    ("concurrent", "held", "seconds"),
    [
        # The baseline's workers have started after 6 s and hold two of the slots until 204 s; the other two slots
        # begin after these 6 s. Trial 0 runs from 8 to 206 s, trial 1 from 8 to 107 s, trial 2 from there to 503 s, and
        # trial 3 from 206 to 305 s.
        (4, 2, 503),
        # The baseline holds all slots: trial 0 runs from 206 to 404 s, trial 1 from 206 to 305 s, and trial 2 from
        # there to 701 s.
        (2, 2, 701),
        (2, 3, 701),  # more than there are slots, as with --max-concurrent
    ],
)
def test_where_trials_share_gpus_the_search_waits_for_the_baseline_to_have_its_own(
    plain: None, concurrent: int, held: int, seconds: float
) -> None:
    plan = replace(PLAN, concurrent=concurrent, final_concurrent=concurrent // 2, held=held)
    assert sweep_estimate(CALIBRATION, plan).search.worst_seconds == pytest.approx(seconds)


def test_whole_gpus_leave_room_for_fewer_finalists_than_trials(plain: None) -> None:
    """The three finalists run one after another; the test images then take 2 s once and 1 s three times."""
    stages = sweep_estimate(CALIBRATION, replace(PLAN, final_concurrent=1, held=2)).stages
    assert stages["confirm"].expected == pytest.approx(6 + 3 * 9 * 11)
    assert stages["evaluate"].expected == pytest.approx(2 * estimate.EVALUATE_STARTS + 5)


def test_a_model_on_the_test_images_takes_a_process_and_not_all_of_a_trainings(plain: None) -> None:
    stages = sweep_estimate(CALIBRATION, replace(PLAN, workers=2)).stages
    assert stages["evaluate"].expected == pytest.approx(2 * estimate.EVALUATE_STARTS + 5 / 4)


def test_asha_shortens_the_expected_search_and_not_the_worst(plain: None) -> None:
    full, stopped = sweep_estimate(CALIBRATION, PLAN), sweep_estimate(CALIBRATION, replace(PLAN, rungs=Rungs(1, 3, 9)))
    assert stopped.stages["search"].expected < full.stages["search"].expected
    assert stopped.stages["search"].worst == pytest.approx(full.stages["search"].worst)
    assert stopped.stages["confirm"] == full.stages["confirm"]


def test_saving_and_a_trials_overhead_are_added() -> None:
    alone = replace(PLAN, specs=PLAN.specs[:1], concurrent=2)
    saving = 0.01 + state_bytes(PLAN.specs[0]) / 400e6
    found = sweep_estimate(CALIBRATION, alone).search
    assert found.expected_seconds == pytest.approx(2 + 0.5 + 9 * (22 + saving))


def test_the_test_images_are_read_in_fp32() -> None:
    start = CALIBRATION.start_seconds * estimate.EVALUATE_STARTS
    fp32 = sweep_estimate(CALIBRATION, PLAN).stages["evaluate"].expected
    bf16 = sweep_estimate(replace(CALIBRATION, precision="bf16"), PLAN).stages["evaluate"].expected
    assert bf16 - start == pytest.approx(3 * (fp32 - start))


def test_the_published_configuration_alone_has_no_finalists(plain: None) -> None:
    alone = sweep_estimate(CALIBRATION, replace(PLAN, specs=SPECS[:1]))
    assert (alone.stages["confirm"].expected, alone.stages["confirm"].worst) == (0.0, 0.0)
    assert alone.stages["evaluate"].expected == pytest.approx(2 * estimate.EVALUATE_STARTS + 2)


@pytest.mark.parametrize(("workers", "epoch"), [(1, 11.0), (2, 5.5), (3, 4.4)])
def test_several_workers_share_the_images_of_a_training(plain: None, workers: int, epoch: float) -> None:
    """An image takes 1 s in training and 0.1 s in validation; one of three workers gets four of the ten images."""
    points = (TimedModel(model_of(1), StepTimes(float(size), size, 0.1)) for size in (10, 20))
    calibration = replace(CALIBRATION, measured=tuple(points))
    baseline = replace(PLAN, specs=SPECS[1:2], workers=workers)
    assert sweep_estimate(calibration, baseline).stages["search"].expected == pytest.approx(6 + 9 * epoch)
