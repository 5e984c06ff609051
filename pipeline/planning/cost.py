"""Models the cost of any configuration of a space, from the measured cost of a few."""

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
"""One more than there are rates, so that no single bad measurement determines a rate."""


@dataclass(frozen=True)
class TimedModel:
    """A configuration and the times that were measured for it."""

    model: ViTConfig
    times: StepTimes


@dataclass(frozen=True)
class Calibration:
    """The measurements of a few configurations, taken side by side as the trials will run.

    The time of a batch is modelled as a non-negative combination of the number of transformer blocks, the FLOPs, and
    the numbers written to memory. FLOPs alone do not predict it: where patches are one pixel wide, writing takes longer
    than the arithmetic, and where patches are wide, launching the operations does.
    """

    measured: tuple[TimedModel, ...]
    start_seconds: float
    """The time that a worker process takes to start, including its imports (torch and the rest)."""
    precision: Precision
    """The precision in which the steps were timed and the trials will train."""
    fusing_gains: Mapping[int, float] = field(default_factory=dict)
    """How many times as fast fusing makes a trial in the search, by index; only trials that will be fused are in it."""

    def __post_init__(self) -> None:
        if not self.measured:
            raise ValueError("measured is empty, but must hold at least one configuration")

    def step_seconds(self, model: ViTConfig, batch_size: int) -> float:
        """Estimates the seconds of an optimizer step with its augmentation."""
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
        # `vit.timing.step_times` validates this many images at a time.
        batches = [min(each.times.batch_size, evaluation_batch(each.model)) for each in self.measured]
        per_image = [each.times.validation_seconds_per_image for each in self.measured]
        return self._rates(batches, [count * seconds for count, seconds in zip(batches, per_image, strict=True)])

    def _rates(self, batches: Sequence[int], seconds: Sequence[float]) -> NDArray[np.float64]:
        """Fits the seconds that each kind of work takes, by least squares of the relative errors.

        `batches` and `seconds` hold the images and the time of one batch of each measured configuration.
        """
        from sklearn.linear_model import LinearRegression  # slow to import

        works = np.array([_work(each.model, count) for each, count in zip(self.measured, batches, strict=True)])
        scale = works.max(axis=0)
        relative = works / scale / np.array(seconds)[:, None]
        fit = LinearRegression(fit_intercept=False, positive=True).fit(relative, np.ones(len(seconds)))
        rates: NDArray[np.float64] = fit.coef_ / scale
        return rates


def _work(model: ViTConfig, batch_size: int) -> NDArray[np.float64]:
    """Returns the work of a batch: blocks, since launching their operations takes time; FLOPs; and numbers written."""
    per_image = np.array([0.0, flops_per_image(model), elements_per_image(model)])
    work: NDArray[np.float64] = np.array([float(model.depth), 0.0, 0.0]) + batch_size * per_image
    return work


def epoch_seconds(
    calibration: Calibration, spec: TrialSpec, train_images: int, validation_images: int, workers: int = 1
) -> float:
    """Estimates the seconds of one epoch, training and validation.

    A last, smaller batch does not count, since it is not trained on (`vit.training.fit`). Each of several workers takes
    its share of a batch and of the validation images; the time that they wait for each other is not included.
    """
    batch_size = min(spec.recipe.batch_size, train_images)
    steps = train_images // batch_size
    trained = steps * calibration.step_seconds(spec.model, math.ceil(batch_size / workers))
    return trained + calibration.validation_seconds(spec.model, math.ceil(validation_images / workers))


def specs_to_measure(specs: Sequence[TrialSpec]) -> list[TrialSpec]:
    """Chooses the configurations to measure: the published one (the first), and those whose mixes of work differ most.

    Each further one is the one that adds most to the determinant of the information matrix (a greedy D-optimal design).
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
    # With fewer rows than the three rates, the determinant would be 0; the small diagonal makes it comparable anyway.
    return float(np.linalg.slogdet(rows.T @ rows + 1e-3 * np.eye(rows.shape[1])).logabsdet)
