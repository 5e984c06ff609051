"""Measures the challenger and the champion on the same images and in the same minutes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.promote.corruptions import corrupted
from pipeline.promote.latency import BATCHES, Latency, measure_latencies
from pipeline.promote.loaded_model import LoadedModel
from pipeline.promote.test_images import TestImages
from pipeline.statistics.calibration import expected_calibration_error
from pipeline.trials.predictions import Predictions


@dataclass(frozen=True)
class Score:
    """What was measured of one version."""

    version: int
    files: str
    """The digest of its files (`ModelCopy.digest`)."""
    size: int
    """The total size of its files, in bytes."""
    parameters: int
    predictions: Predictions
    latencies: dict[int, Latency]
    """The latencies by the number of images in a request."""
    corrupted_correct: dict[str, NDArray[np.bool_]]
    """Whether it is right about each corrupted image (N,), by kind and strength; empty where not requested."""

    @property
    def correct(self) -> int:
        return int(self.predictions.correct.sum())

    @property
    def images(self) -> int:
        return len(self.predictions.labels)

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    @property
    def calibration_error(self) -> float:
        return expected_calibration_error(self.predictions.confidence, self.predictions.correct)


def score(models: Sequence[LoadedModel], test: TestImages, with_corruptions: bool) -> list[Score]:
    """Returns the scores of the models, in their order; `with_corruptions` includes corrupted images."""
    images, labels = test.images.images, test.images.labels
    predictions = [Predictions.of(labels, model.probabilities(images)) for model in models]
    programs = [model.program for model in models]
    latencies = {batch: measure_latencies(programs, images, batch) for batch in BATCHES}
    corrupted_correct: list[dict[str, NDArray[np.bool_]]] = [{} for _ in models]
    for name, changed in corrupted(images) if with_corruptions else ():
        for model, right in zip(models, corrupted_correct, strict=True):
            right[name] = model.probabilities(changed).argmax(axis=1) == labels
    return [
        Score(
            model.copy.version,
            model.copy.digest,
            model.copy.size,
            model.parameters,
            predictions[index],
            {batch: measured[index] for batch, measured in latencies.items()},
            corrupted_correct[index],
        )
        for index, model in enumerate(models)
    ]
