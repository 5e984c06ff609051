"""Tests the file of a model's predictions."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.trials.predictions import Predictions


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 7)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = random.integers(0, 7, 200)
    said = Predictions.of(labels, probabilities)
    said.write(tmp_path / "said.csv")
    read = Predictions.read(tmp_path / "said.csv")
    assert read is not None
    assert read.labels.tolist() == labels.tolist()
    assert read.predicted.tolist() == probabilities.argmax(axis=1).tolist()
    # The float32 values are read back bit for bit.
    assert read.confidence.astype(np.float32).tolist() == probabilities.max(axis=1).tolist()
    assert read.label_probability.astype(np.float32).tolist() == [
        float(row[label]) for row, label in zip(probabilities, labels, strict=True)
    ]
    assert read.correct.tolist() == (read.confidence == read.label_probability).tolist()


@pytest.mark.parametrize("text", ["", "label,predicted\n0,0\n1,0\n"])
def test_a_file_without_probabilities_is_of_an_older_store(tmp_path: Path, text: str) -> None:
    (tmp_path / "old.csv").write_text(text)
    assert Predictions.read(tmp_path / "old.csv") is None


def test_no_images_give_no_entries(tmp_path: Path) -> None:
    Predictions.of(np.zeros(0, np.int64), np.zeros((0, 3))).write(tmp_path / "none.csv")
    read = Predictions.read(tmp_path / "none.csv")
    assert read is not None and len(read.labels) == 0
