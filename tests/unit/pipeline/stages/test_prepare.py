"""Tests of what `prepare` says about the images: whether they may be mirrored, and which are in several splits."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.stages.prepare import prepare_data
from vit.data.arrays import ImageArrays
from vit.data.dataset import Dataset


def arrays(*shades: int) -> ImageArrays:
    return ImageArrays(np.array(shades, np.uint8).reshape(-1, 1, 1, 1), np.zeros(len(shades), np.int64))


def session_over(train: ImageArrays, validation: ImageArrays, test: ImageArrays) -> Any:
    said: list[str] = []
    data = Dataset("d", train, validation, test, ("a", "b"), "", "", True, "here")
    return SimpleNamespace(dataset=data, precision="fp32", said=said, say=said.append)


@pytest.mark.parametrize(
    ("validation", "test", "warnings", "counts"),
    [
        (arrays(3), arrays(4), [], (0, 0)),
        (arrays(3), arrays(3, 1, 4), ["2 test images are also in train or validation"], (2, 0)),
        (
            arrays(2, 3, 2),
            arrays(4),
            ["2 validation images are also in train: the validation accuracy, by which everything is "
             "chosen, is too high; remove the copies from the data set"],
            (0, 2),
        ),
    ],
)  # fmt: skip
def test_copies_are_counted_and_warned_of(
    validation: ImageArrays, test: ImageArrays, warnings: list[str], counts: tuple[int, int]
) -> None:
    session = session_over(arrays(1, 2), validation, test)
    prepared = prepare_data(session)
    assert (prepared.duplicates, prepared.validation_duplicates) == counts
    assert session.said[1:] == [f"warning: {line}" for line in warnings]


@pytest.mark.parametrize(
    ("mirror_safe", "end"),
    [(True, "2 classes; training may mirror them (never with --no-mirror)"), (False, "2 classes")],
)
def test_it_says_whether_the_images_may_be_mirrored(mirror_safe: bool, end: str) -> None:
    session = session_over(arrays(1, 2), arrays(3), arrays(4))
    session.dataset = replace(session.dataset, mirror_safe=mirror_safe)
    prepare_data(session)
    assert session.said[0].endswith(end)
