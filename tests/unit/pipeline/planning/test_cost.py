"""Tests of any configuration's cost, modelled from a few measured ones, against times computed from known rates."""

from dataclasses import replace

import pytest

from pipeline.planning.cost import NUM_MEASURED, Calibration, TimedModel, epoch_seconds, specs_to_measure
from tune_spaces.catalogue import SPACES
from tune_spaces.space import draw_trials
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.model.config import ViTConfig
from vit.model.work import elements_per_image, flops_per_image
from vit.timing.step_times import StepTimes
from vit.training.recipes import Recipe

SPECS = draw_trials(SPACES["small"], DataShape(8, 1, 10, mirror_safe=False), count=24, epochs=45, seed=0)
BLOCK, FLOP, NUMBER = 1e-3, 2e-11, 5e-10
"""The seconds per block, per FLOP and per number written to memory; in validation they are a third of this."""


def batch_seconds(model: ViTConfig, images: int) -> float:
    return model.depth * BLOCK + images * (flops_per_image(model) * FLOP + elements_per_image(model) * NUMBER)


def measured(spec: TrialSpec, slower: float = 1.0) -> TimedModel:
    batch_size = spec.recipe.batch_size
    seconds = slower * batch_seconds(spec.model, batch_size)
    return TimedModel(spec.model, StepTimes(seconds, batch_size, seconds / 3 / batch_size))


def calibration(*points: TimedModel) -> Calibration:
    return Calibration(points, start_seconds=3.0, precision="fp32")


MEASURED = calibration(*(measured(spec) for spec in specs_to_measure(SPECS)))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.index))
def test_any_configuration_costs_what_its_work_does(spec: TrialSpec) -> None:
    assert MEASURED.step_seconds(spec.model, 96) == pytest.approx(batch_seconds(spec.model, 96))
    # `vit.training.evaluation` evaluates 512 images of 8 x 8 pixels at a time.
    validation = 2 * batch_seconds(spec.model, 512) + batch_seconds(spec.model, 76)
    assert MEASURED.validation_seconds(spec.model, 1100) == pytest.approx(validation / 3)
    assert MEASURED.validation_seconds(spec.model, 1024) == pytest.approx(2 * batch_seconds(spec.model, 512) / 3)


def test_large_images_are_validated_fewer_at_once() -> None:
    """Images of 64 x 64 pixels are validated 128 at a time, so the blocks' operations are launched more often."""
    model = replace(SPECS[1].model, img_size=64)
    assert MEASURED.validation_seconds(model, 1024) == pytest.approx(8 * batch_seconds(model, 128) / 3)


@pytest.mark.parametrize(
    ("train_images", "steps", "batch_size"), [(320, 10, 32), (351, 10, 32), (352, 11, 32), (20, 1, 20)]
)
def test_a_last_smaller_batch_is_not_trained_on(train_images: int, steps: int, batch_size: int) -> None:
    spec = replace(SPECS[1], recipe=Recipe(batch_size=32))
    expected = steps * batch_seconds(spec.model, batch_size) + batch_seconds(spec.model, 50) / 3
    assert epoch_seconds(MEASURED, spec, train_images, validation_images=50) == pytest.approx(expected)


@pytest.mark.parametrize(("workers", "share", "validated"), [(1, 32, 50), (2, 16, 25), (3, 11, 17)])
def test_each_of_several_workers_takes_a_share_of_the_images(workers: int, share: int, validated: int) -> None:
    spec = replace(SPECS[1], recipe=Recipe(batch_size=32))
    expected = 10 * batch_seconds(spec.model, share) + batch_seconds(spec.model, validated) / 3
    assert epoch_seconds(MEASURED, spec, 320, 50, workers) == pytest.approx(expected)


@pytest.mark.parametrize("slow", range(NUM_MEASURED))
def test_one_slow_measurement_makes_nothing_free(slow: int) -> None:
    """Another program may have used the core meanwhile; an unconstrained fit would then give negative times."""
    chosen = specs_to_measure(SPECS)
    noisy = calibration(*(measured(spec, 2.0 if position == slow else 1.0) for position, spec in enumerate(chosen)))
    for spec in SPECS:
        ratio = noisy.step_seconds(spec.model, 64) / batch_seconds(spec.model, 64)
        assert 0.3 < ratio < 3, spec.index


def test_one_configuration_alone_costs_what_was_measured() -> None:
    alone = calibration(measured(SPECS[0]))
    batch_size = SPECS[0].recipe.batch_size
    assert alone.step_seconds(SPECS[0].model, batch_size) == pytest.approx(batch_seconds(SPECS[0].model, batch_size))
    assert alone.step_seconds(SPECS[1].model, 32) > 0


def test_nothing_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold at least one"):
        calibration()


def test_the_published_configuration_and_unlike_ones_are_measured() -> None:
    chosen = specs_to_measure(SPECS)
    assert len(chosen) == NUM_MEASURED
    assert chosen[0] is SPECS[0]
    assert len({spec.index for spec in chosen}) == NUM_MEASURED

    def numbers_per_flop(spec: TrialSpec) -> float:
        return elements_per_image(spec.model) / flops_per_image(spec.model)

    assert max(map(numbers_per_flop, chosen)) > 4 * min(map(numbers_per_flop, chosen))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_of_few_all_are_measured(count: int) -> None:
    assert sorted(spec.index for spec in specs_to_measure(SPECS[:count])) == list(range(count))
