"""Tests of the parallel coordinates' axes, and of the values' positions, against numbers worked out by hand."""

from typing import Any

import pytest

from pipeline.page.blocks import Chart
from pipeline.page.hyperparameter_sections import ACCURACY, hyperparameters, searched
from tests.unit.pipeline.page.sweep_of_all import records, row, sweep_summary


def test_what_differs_among_drawn_trials_was_searched_and_the_most_important_comes_first() -> None:
    rows: list[dict[str, Any]] = [
        {"trial": 0, "depth": 6, "stem": "patch", "rotation": 15.0},  # not sampled
        {"trial": 1, "depth": 2, "stem": "conv", "rotation": 8.0},
        {"trial": 2, "depth": 4, "stem": "patch", "rotation": 8.0},
    ]
    assert searched(rows, {"stem": 0.7, "depth": 0.3}) == ["stem", "depth"]
    assert searched(rows, {}) == ["depth", "stem"]


def places(values: list[Any], name: str = "learning_rate") -> list[float]:
    """Returns the positions of a hyperparameter's values on its axis."""
    summary = sweep_summary()
    summary["leaderboard"] = [{**row(number, number), name: value} for number, value in enumerate(values, start=1)]
    (chart,) = [block for block in hyperparameters(records(summary)) if isinstance(block, Chart)][:1]
    drawn = [point for rows in chart.spec["datasets"].values() for point in rows if "trial" in point]
    return [point["at"] for point in drawn if point["axis"] == name]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.001, 0.01, 0.1], [0.0, 0.5, 1.0]),  # the largest is 100 times the smallest: by their logarithms
        ([0.1, 0.2, 0.5], [0.0, 0.25, 1.0]),
        ([0.0, 0.2, 0.1], [0.0, 1.0, 0.5]),
        ([0.2, 0, 0.1], [1.0, 0.0, 0.5]),  # a whole number among others: still by value
        ([1, 3.0, 2.0], [0.0, 1.0, 0.5]),
        ([0.1, "auto", 0], [0.5, 1.0, 0.0]),  # words come after the numbers, at equal distances
        ([64, 256, 128], [0.0, 1.0, 0.5]),  # few whole numbers: at equal distances
        (["patch", "conv", "patch"], [1.0, 0.0, 1.0]),
        ([True, False, True], [1.0, 0.0, 1.0]),
    ],
)
def test_where_values_stand(values: list[Any], expected: list[float]) -> None:
    name = "learning_rate" if any(isinstance(value, float) for value in values) else "flip"
    assert places(values, name) == pytest.approx(expected)


def test_the_last_axis_is_the_accuracy() -> None:
    (chart,) = [block for block in hyperparameters(records(sweep_summary())) if isinstance(block, Chart)][:1]
    axes = chart.spec["layer"][1]["encoding"]["x"]["sort"]
    assert axes == ["depth", "patch_size", "learning_rate", "flip", ACCURACY]
