"""A trained model's predictions on labelled images: the file on which comparisons of models on the same images rest."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PREDICTIONS_FILE = "evaluation/test_predictions.csv"
"""The artifact of each run whose model has been evaluated on the test images."""
_COLUMNS = ("label", "predicted", "confidence", "label_probability")
_DIGITS = 9
"""The significant digits of a probability: all that float32 holds."""


@dataclass(frozen=True)
class Predictions:
    """One entry for each image, in the data set's order."""

    labels: NDArray[np.int64]
    """(N,) true classes."""
    predicted: NDArray[np.int64]
    """(N,) most probable classes."""
    confidence: NDArray[np.float64]
    """(N,) probabilities of the predicted classes."""
    label_probability: NDArray[np.float64]
    """(N,) probabilities of the true classes."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the predicted class is the true one."""
        return np.equal(self.labels, self.predicted)

    @staticmethod
    def of(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> "Predictions":
        """Builds the predictions from the true classes (N,) and the probabilities of all classes (N, num_classes)."""
        predicted = probabilities.argmax(axis=1).astype(np.int64)
        each = np.arange(len(labels))
        return Predictions(
            np.asarray(labels, dtype=np.int64),
            predicted,
            probabilities[each, predicted].astype(np.float64),
            probabilities[each, labels].astype(np.float64),
        )

    def confusion(self, num_classes: int) -> NDArray[np.int64]:
        """The counts of images (num_classes, num_classes): rows are true classes, columns predicted ones."""
        cells = np.bincount(self.labels * num_classes + self.predicted, minlength=num_classes**2)
        return cells.astype(np.int64).reshape(num_classes, num_classes)

    def write(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            chances = (
                [f"{value:.{_DIGITS}g}" for value in each.tolist()]
                for each in (self.confidence, self.label_probability)
            )
            writer.writerows(zip(self.labels.tolist(), self.predicted.tolist(), *chances, strict=True))

    @staticmethod
    def read(path: Path) -> "Predictions | None":
        """Reads what `write` wrote; None for a file from an older tracking store, which has no probabilities."""
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        if not rows or tuple(rows[0]) != _COLUMNS:
            return None
        columns = [list(column) for column in zip(*rows[1:], strict=True)] or [[], [], [], []]
        labels, predicted = (np.array(column, dtype=np.int64) for column in columns[:2])
        confidence, label_probability = (np.array(column, dtype=np.float64) for column in columns[2:])
        return Predictions(labels, predicted, confidence, label_probability)
