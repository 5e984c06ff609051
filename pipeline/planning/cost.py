"""The cost of any configuration of a space, from the measured cost of a few."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.model.work import elements_per_image, flops_per_image
from vit.timing.step_times import StepTimes
from vit.training.evaluation import evaluation_batch
from vit.training.precision import Precision

NUM_MEASURED = 4
"""One more than there are rates, so that no single bad measurement decides one."""


@dataclass(frozen=True)
class TimedModel:
    """A configuration and what was measured of it."""

    model: ViTConfig
    times: StepTimes


@dataclass(frozen=True)
class Calibration:
    """What was measured of a few configurations, side by side as the trials will run.

    A batch's time is modelled as a non-negative combination of blocks, FLOPs and numbers written.
    FLOPs alone do not tell: where patches are one pixel wide, writing takes longer than arithmetic, and where they are
    wide, starting the steps does.
    """

    measured: tuple[TimedModel, ...]
    start_seconds: float
    """A worker process's start: importing torch and all."""
    precision: Precision
    """In which the steps were timed, and the trials will train."""
    fusing_gains: Mapping[int, float] = field(default_factory=dict)
    """How many times as fast trials are in the search, by index, where they are trained as one with others."""

    def __post_init__(self) -> None:
        if not self.measured:
            raise ValueError("measured is empty, but must hold at least one configuration")

    def step_seconds(self, model: ViTConfig, batch_size: int) -> float:
        """Of an optimizer step with its augmentation."""
        return float(_work(model, batch_size) @ self._step_rates)

    def validation_seconds(self, model: ViTConfig, images: int) -> float:
        at_once = evaluation_batch(model)
        full, last = divmod(images, at_once)
        work = full * _work(model, at_once) + (_work(model, last) if last else 0.0)
        return float(work @ self._validation_rates)

    @cached_property
    def _step_rates(self) -> NDArray[np.float64]:
        batches = [each.times.batch_size for each in self.measured]
        return self._rates(batches, [each.times.step_seconds for each in self.measured])

    @cached_property
    def _validation_rates(self) -> NDArray[np.float64]:
        # As many at once as `vit.timing.step_times` validates.
        batches = [min(each.times.batch_size, evaluation_batch(each.model)) for each in self.measured]
        per_image = [each.times.validation_seconds_per_image for each in self.measured]
        return self._rates(batches, [count * seconds for count, seconds in zip(batches, per_image, strict=True)])

    def _rates(self, batches: Sequence[int], seconds: Sequence[float]) -> NDArray[np.float64]:
        """Seconds for each kind of work, by least squares of the relative errors; `seconds` are those of a batch."""
        from sklearn.linear_model import LinearRegression  # slow to import

        works = np.array([_work(each.model, count) for each, count in zip(self.measured, batches, strict=True)])
        scale = works.max(axis=0)
        relative = works / scale / np.array(seconds)[:, None]
        fit = LinearRegression(fit_intercept=False, positive=True).fit(relative, np.ones(len(seconds)))
        rates: NDArray[np.float64] = fit.coef_ / scale
        return rates


def _work(model: ViTConfig, batch_size: int) -> NDArray[np.float64]:
    """What a batch takes: blocks, each some steps to start; FLOPs; numbers written."""
    per_image = np.array([0.0, flops_per_image(model), elements_per_image(model)])
    work: NDArray[np.float64] = np.array([float(model.depth), 0.0, 0.0]) + batch_size * per_image
    return work


def epoch_seconds(
    calibration: Calibration, spec: TrialSpec, train_images: int, validation_images: int, workers: int = 1
) -> float:
    """Training and validation of one epoch; a last, smaller batch is not trained on (`vit.training.fit`).

    Each of several workers takes its share of a batch and of the validation; that they wait for each other is not
    reckoned with.
    """
    batch_size = min(spec.recipe.batch_size, train_images)
    steps = train_images // batch_size
    trained = steps * calibration.step_seconds(spec.model, math.ceil(batch_size / workers))
    return trained + calibration.validation_seconds(spec.model, math.ceil(validation_images / workers))


def specs_to_measure(specs: Sequence[TrialSpec]) -> list[TrialSpec]:
    """The configurations to calibrate by: the published one (the first), and those whose work is mixed least alike.

    Each is the one that adds most to the determinant of the information (a greedy D-optimal design).
    """
    works = np.array([_work(spec.model, spec.recipe.batch_size) for spec in specs])
    mixes = works / np.exp(np.log(works).mean(axis=0))
    mixes /= np.linalg.norm(mixes, axis=1, keepdims=True)
    chosen = [0]
    while len(chosen) < min(NUM_MEASURED, len(specs)):
        others = [index for index in range(len(specs)) if index not in chosen]
        chosen.append(max(others, key=lambda index: _information(mixes[[*chosen, index]])))
    return [specs[index] for index in chosen]


def _information(rows: NDArray[np.float64]) -> float:
    # The small diagonal tells two rows apart from one, where three rates have no determinant yet.
    return float(np.linalg.slogdet(rows.T @ rows + 1e-3 * np.eye(rows.shape[1])).logabsdet)
