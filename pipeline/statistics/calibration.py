"""Whether a model's probabilities mean what they say."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def expected_calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """The mean distance of confidence and accuracy, a fraction, over 15 bins of equal width weighted by their images.

    As in Guo et al. 2017 (arXiv:1706.04599): 0.05 means that a model that says 90% is right in about 85 or 95%.

    Args:
        confidence: (N,) the probability of each predicted class.
        correct: (N,) whether it is the true one.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
