"""Measures calibration: how far a model's confidence is from its accuracy."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def expected_calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Returns the expected calibration error (Guo et al. 2017, arXiv:1706.04599), as a fraction.

    This is the mean distance between confidence and accuracy over 15 bins of equal width, weighted by their numbers of
    images. An error of 0.05 means that a model whose confidence is 90% is right in about 85% or 95% of the cases.

    Args:
        confidence: (N,) the probability of each predicted class.
        correct: (N,) whether the predicted class is the true one.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
