"""Tests of which mistakes are the worst, and that they are read from their file as they were written."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from pipeline.page.mistakes import Mistakes, surest_mistakes
from pipeline.trials.predictions import Predictions


def test_the_surest_wrong_answers_come_first() -> None:
    labels, predicted = np.array([0, 1, 2, 0, 1]), np.array([1, 1, 0, 2, 0])
    confidence = np.array([0.6, 0.99, 0.9, 0.6, 0.7])
    found = surest_mistakes(Predictions(labels, predicted, confidence, 1 - confidence), 3)
    assert found.tolist() == [2, 4, 0]  # the second is right; of equally sure ones, the earlier comes first


def test_they_come_back_from_their_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kept = Mistakes(
        random.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8), np.array([1, 2]), np.array([0, 0]),
        np.array([0.9, 0.8]), np.array([0.05, 0.1]), random.random((2, 4, 4)).astype(np.float32), np.array(True),
    )  # fmt: skip
    kept.write(tmp_path / "mistakes.npz")
    back = Mistakes.read(tmp_path / "mistakes.npz")
    for field in fields(Mistakes):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(kept, field.name))
        assert getattr(back, field.name).dtype == getattr(kept, field.name).dtype
    assert len(back) == 2
