"""Tests the figure that shows the importances as bars."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.figures.canvas import BLUE, HEIGHT
from pipeline.figures.importance_figure import draw_importance
from tests.unit.pipeline.figures.pixels import ink


def test_importance_bars_are_as_long_as_the_share(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(draw_importance, {"stem": 0.2, "depth": 0.8}, "of 32 trials")
    upper, lower = ink(pixels[: HEIGHT // 2], BLUE), ink(pixels[HEIGHT // 2 :], BLUE)
    assert lower == pytest.approx(upper / 4, rel=0.05)


@pytest.mark.parametrize("count", [1, 25])
def test_importance_of_one_and_of_many(draw: Callable[..., np.ndarray], count: int) -> None:
    assert ink(draw(draw_importance, {f"$parameter {n}$": 1 / count for n in range(count)}, ""), BLUE) > 1000
