"""Better, same, worse, not proven: cases worked by hand."""

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
        (359, 0, 1, "not proven"),  # one image more: p = 1
        (359, 1, 0, "not proven"),
        (359, 0, 5, "not proven"),  # p = 2 / 2**5 = 0.0625
        (359, 0, 6, "better"),  # p = 2 / 2**6 = 0.031; a draw without any of the six has a chance of 0.25%
        (359, 6, 0, "worse"),
        (359, 0, 0, "same"),  # the very same answers
        (359, 10, 10, "not proven"),  # 20 of 359 that only one gets right: ± 2.4 points
        (10_000, 100, 100, "same"),  # 1.96 * sqrt(200) / 10,000: ± 0.28 points
        (10_000, 1000, 1000, "not proven"),  # ± 0.88 points
        (10_000, 60, 100, "better"),  # by 0.4 points, within the margin, and proven all the same
        (10_000, 100, 60, "worse"),
    ],
)
def test_what_is_proven(images: int, only_champion: int, only_challenger: int, expected: Standing) -> None:
    assert standing_of(compared(images, only_champion, only_challenger), 0.005) == expected


def test_the_margin_is_what_makes_two_models_the_same() -> None:
    comparison = compared(10_000, 100, 100)
    assert standing_of(comparison, 0.0035) == "same"
    assert standing_of(comparison, 0.002) == "not proven"
