"""Tests of which classes are confused most, against lists worked out by hand and scikit-learn's matrix."""

import numpy as np
from sklearn.metrics import confusion_matrix

from pipeline.page.confusions import Confusion, most_confused
from pipeline.trials.predictions import Predictions

NAMES = ["cat", "dog", "ship"]
MATRIX = np.array([[736, 264, 0], [200, 795, 5], [0, 5, 45]])


def predictions(labels: list[int], predicted: list[int]) -> Predictions:
    ones = np.ones(len(labels))
    return Predictions(np.array(labels, dtype=np.int64), np.array(predicted, dtype=np.int64), ones, ones)


def test_the_matrix_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 4, (2, 200)).tolist()
    found = predictions(labels, predicted).confusion(5)
    assert found.tolist() == confusion_matrix(labels, predicted, labels=range(5)).tolist()


def test_the_most_confused_come_first_and_of_equals_the_larger_share() -> None:
    assert most_confused(MATRIX, 10) == [
        Confusion(0, 1, 264, 1000), Confusion(1, 0, 200, 1000), Confusion(2, 1, 5, 50), Confusion(1, 2, 5, 1000),
    ]  # fmt: skip
    assert most_confused(MATRIX, 1) == [Confusion(0, 1, 264, 1000)]
    assert most_confused(np.diag([3, 4, 5]), 10) == []


def test_a_confusion_in_words() -> None:
    assert most_confused(MATRIX, 1)[0].in_words(NAMES) == "cat taken for dog: 264 of 1,000"
