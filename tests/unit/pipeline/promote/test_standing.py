"""Tests when the second of two models is better, the same, worse or not proven, on cases worked out by hand."""

import numpy as np
import pytest

from pipeline.promote.standing import Standing, standing_of
from pipeline.statistics.paired import PairedComparison, compare_paired


def compared(images: int, only_first: int, only_second: int) -> PairedComparison:
    first, second = np.ones(images, dtype=bool), np.ones(images, dtype=bool)
    second[:only_first] = False
    first[only_first : only_first + only_second] = False
    return compare_paired(first, second)


@pytest.mark.parametrize(
    ("images", "only_champion", "only_challenger", "expected"),
    [
        (359, 0, 1, "not proven"),  # one more image is right: p = 1
        (359, 1, 0, "not proven"),
        (359, 0, 5, "not proven"),  # p = 2 / 2**5 = 0.0625
        (359, 0, 6, "better"),  # p = 2 / 2**6 = 0.031; 0.25% of the bootstrap draws have none of the six
        (359, 6, 0, "worse"),
        (359, 0, 0, "same"),  # exactly the same answers
        (359, 10, 10, "not proven"),  # only one is right about 20 of 359: ± 2.4 points
        (10_000, 100, 100, "same"),  # 1.96 * sqrt(200) / 10,000: ± 0.28 points
        (10_000, 1000, 1000, "not proven"),  # ± 0.88 points
        (10_000, 60, 100, "better"),  # by 0.4 points: within the margin, but proven
        (10_000, 100, 60, "worse"),
    ],
)
def test_what_is_proven(images: int, only_champion: int, only_challenger: int, expected: Standing) -> None:
    assert standing_of(compared(images, only_champion, only_challenger), 0.005) == expected


def test_the_margin_is_what_makes_two_models_the_same() -> None:
    comparison = compared(10_000, 100, 100)
    assert standing_of(comparison, 0.0035) == "same"
    assert standing_of(comparison, 0.002) == "not proven"
