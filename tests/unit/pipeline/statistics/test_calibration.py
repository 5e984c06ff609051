"""Tests the calibration error against a result worked out by hand and against scikit-learn's reliability curve."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from pipeline.statistics.calibration import BINS, expected_calibration_error


def test_by_hand() -> None:
    # Two images are in the bin up to 14/15, and one of them is right; the one at 1.0 is right, the one at 0.5 is wrong.
    confidence, correct = np.array([0.9, 0.92, 1.0, 0.5]), np.array([True, False, True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx((abs(1 - 1.82) + 0 + 0.5) / 4)


def test_as_scikit_learn_bins_it() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.1, 1, 5000)
    correct = random.random(5000) < confidence**1.5
    true, said = calibration_curve(correct, confidence, n_bins=BINS)
    edges = np.linspace(0, 1, BINS + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=BINS)
    expected = (np.abs(true - said) * counts[counts > 0]).sum() / 5000
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-9)


def test_a_calibrated_model_is_near_zero_and_an_overconfident_one_is_not() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 20_000)
    calibrated = random.random(20_000) < confidence
    assert expected_calibration_error(confidence, calibrated) < 0.01
    assert expected_calibration_error(np.ones(20_000), calibrated) == pytest.approx(0.25, abs=0.01)
