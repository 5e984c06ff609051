"""From measured points to seconds: lines drawn by hand, stages added up by hand."""

from dataclasses import replace

import pytest

from pipeline import estimate
from pipeline.estimate import Calibration, Measured, Seconds, epoch_seconds, specs_to_measure, sweep_estimate
from pipeline.footprint import state_bytes
from pipeline.plan import SweepPlan
from pipeline.rungs import Rungs
from tune_spaces.space import TrialSpec
from vit.calibration import flops_per_image
from vit.model import ViTConfig
from vit.recipes import Recipe

BASE = ViTConfig(img_size=8, in_chans=1, embed_dim=32, num_heads=4, depth=1)


def spec_of(index: int, depth: int, batch_size: int = 10) -> TrialSpec:
    return TrialSpec(index, replace(BASE, depth=depth), Recipe(epochs=9, batch_size=batch_size), seed=index)


def flops(depth: int) -> float:
    return flops_per_image(replace(BASE, depth=depth))


def calibration(*points: Measured) -> Calibration:
    return Calibration(points, start_seconds=2.0, precision="fp32")


# The FLOPs grow by the same with each block: depth d stands on a line. 1, 3 and 7 s for an image to train on.
THREE = calibration(
    Measured(flops(1), batch_size=10, step_seconds=10.0, validation_seconds_per_image=0.1),
    Measured(flops(2), batch_size=20, step_seconds=60.0, validation_seconds_per_image=0.2),
    Measured(flops(4), batch_size=10, step_seconds=70.0, validation_seconds_per_image=0.4),
)


@pytest.mark.parametrize(
    ("depth", "train", "validation"), [(1, 1, 0.1), (2, 3, 0.2), (3, 5, 0.3), (4, 7, 0.4), (6, 11, 0.6)]
)
def test_an_image_costs_what_the_line_says(depth: int, train: float, validation: float) -> None:
    seconds = epoch_seconds(THREE, spec_of(0, depth), train_images=100, validation_images=50)
    assert seconds == pytest.approx(100 * train + 50 * validation)


@pytest.mark.parametrize(("train_images", "trained"), [(100, 100), (109, 100), (110, 110), (19, 10), (7, 7)])
def test_a_last_smaller_batch_is_not_trained_on(train_images: int, trained: int) -> None:
    seconds = epoch_seconds(THREE, spec_of(0, depth=1, batch_size=10), train_images, validation_images=0)
    assert seconds == pytest.approx(trained)


def test_time_is_never_below_zero() -> None:
    steep = calibration(Measured(flops(3), 10, 1.0, 0.0), Measured(flops(4), 10, 100.0, 0.0))
    assert epoch_seconds(steep, spec_of(0, depth=1), train_images=100, validation_images=100) == 0.0


def test_one_point_makes_a_line_with_the_origin() -> None:
    one = calibration(Measured(flops(2), 10, 20.0, 0.5))
    seconds = epoch_seconds(one, spec_of(0, depth=4), train_images=10, validation_images=2)
    assert seconds == pytest.approx((20 + 1) * flops(4) / flops(2))


@pytest.mark.parametrize("depths", [[], [2, 1], [1, 1]])
def test_points_that_make_no_line_are_refused(depths: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one, ascending and all different"):
        calibration(*(Measured(flops(depth), 10, 1.0, 0.1) for depth in depths))


@pytest.mark.parametrize(
    ("depths", "chosen"),
    [([2, 4, 1, 3], [2, 0, 1]), ([2, 2, 2], [0]), ([1, 3, 2], [0, 1]), ([3, 1, 1, 3], [1, 0]), ([2], [0])],
)
def test_the_smallest_the_published_and_the_largest_are_measured(depths: list[int], chosen: list[int]) -> None:
    specs = [spec_of(index, depth) for index, depth in enumerate(depths)]
    assert [spec.index for spec in specs_to_measure(specs)] == chosen


PLAN = SweepPlan(
    specs=tuple(spec_of(index, depth) for index, depth in enumerate((2, 1, 4, 1))), rungs=Rungs(9, 3, 9),
    concurrent=2, train_images=10, validation_images=10, test_images=20, finalists=3, seeds=1,
)  # fmt: skip


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overheads in round numbers, and none for saving, so that the sums are short."""
    monkeypatch.setattr(estimate, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(estimate, "EPOCH_SECONDS", 0.0)
    monkeypatch.setattr(estimate, "SAVED_BYTES_PER_SECOND", float("inf"))
    monkeypatch.setattr(estimate, "RAY_TRAIN_STARTS", 3.0)


def test_the_stages_by_hand(plain: None) -> None:
    """Nothing is stopped, an epoch takes 32, 11, 74, 11 s, a start 2 s.

    The baseline holds a place for 6 + 9 * 32 = 294 s. Meanwhile trial 0 runs on the other from 2 to 290, trial 1
    from there to 389; trial 2 from 296 to 962, trial 3 from 389 to 488.
    Finalists: 3 at 2 places are two rounds of 6 s + 9 epochs, of (32 + 74) / 2 s each or 74 s at worst.
    Test images: 20, at 0.2 s for the published and 0.3 s or 0.4 s for the winner, side by side.
    """
    result = sweep_estimate(THREE, PLAN)
    assert list(result.stages) == ["start", "prepare", "search", "confirm", "evaluate", "register", "report"]
    assert result.stages["search"] == Seconds(pytest.approx(962), pytest.approx(962))
    assert result.stages["confirm"] == Seconds(pytest.approx(2 * (6 + 9 * 53)), pytest.approx(2 * (6 + 9 * 74)))
    assert result.stages["evaluate"] == Seconds(
        pytest.approx(2 * estimate.EVALUATE_STARTS + 5), pytest.approx(2 * estimate.EVALUATE_STARTS + 6)
    )
    assert result.stages["register"] == Seconds(2 * estimate.REGISTER_STARTS, 2 * estimate.REGISTER_STARTS)
    assert result.total.expected == pytest.approx(sum(span.expected for span in result.stages.values()))
    assert result.total.worst == pytest.approx(sum(span.worst for span in result.stages.values()))


def test_a_baseline_that_outlasts_the_search_decides(plain: None) -> None:
    result = sweep_estimate(THREE, replace(PLAN, seeds=5))
    assert result.search.worst_seconds < 5 * 294
    assert result.stages["search"] == Seconds(pytest.approx(5 * 294), pytest.approx(5 * 294))


def test_on_one_place_the_search_waits_for_the_baseline(plain: None) -> None:
    result = sweep_estimate(THREE, replace(PLAN, concurrent=1))
    assert result.stages["search"].expected == pytest.approx(294 + 2 + 9 * (32 + 11 + 74 + 11))


def test_asha_shortens_the_expected_search_and_not_the_worst(plain: None) -> None:
    full, stopped = sweep_estimate(THREE, PLAN), sweep_estimate(THREE, replace(PLAN, rungs=Rungs(1, 3, 9)))
    assert stopped.stages["search"].expected < full.stages["search"].expected
    assert stopped.stages["search"].worst == pytest.approx(full.stages["search"].worst)
    assert stopped.stages["confirm"] == full.stages["confirm"]


def test_saving_and_a_trials_overhead_are_added() -> None:
    alone = replace(PLAN, specs=PLAN.specs[:1], concurrent=2)
    saving = 0.01 + state_bytes(PLAN.specs[0]) / 400e6
    found = sweep_estimate(THREE, alone).search
    assert found.expected_seconds == pytest.approx(2 + 0.5 + 9 * (32 + saving))


def test_the_test_images_are_read_in_fp32() -> None:
    start = THREE.start_seconds * estimate.EVALUATE_STARTS
    fp32 = sweep_estimate(THREE, PLAN).stages["evaluate"].expected
    bf16 = sweep_estimate(replace(THREE, precision="bf16"), PLAN).stages["evaluate"].expected
    assert bf16 - start == pytest.approx(3 * (fp32 - start))
