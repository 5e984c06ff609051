"""Tests the figure of accuracy against model size: each outcome has its colour, and the baseline is a line."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.figures.canvas import HEIGHT, WIDTH
from pipeline.figures.leaderboard_figure import OUTCOME_STYLES, draw_leaderboard
from tests.unit.pipeline.figures.pixels import ink


def board(accuracies: list[float | None], baseline_index: int = 0) -> tuple[object, ...]:
    count = len(accuracies)
    outcomes = [list(OUTCOME_STYLES)[index % len(OUTCOME_STYLES)] for index in range(count)]
    names = [f"trial {index}" for index in range(count)]
    return names, accuracies, [100_000 * (index + 1) for index in range(count)], outcomes, baseline_index


def test_leaderboard_shows_each_outcome_in_its_colour(draw: Callable[..., np.ndarray]) -> None:
    shown = draw(draw_leaderboard, *board([0.5, 0.6, 0.4, 0.3, 0.2]))[: HEIGHT - 60]
    hidden = draw(draw_leaderboard, *board([None, None, None, None, None]))[: HEIGHT - 60]
    assert (hidden != shown).any()
    # Marks are a little transparent, so their colour is not quite the palette's.
    for color, _ in OUTCOME_STYLES.values():
        wanted = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)])
        mixed = np.round(0.8 * wanted + 0.2 * 255)
        assert (np.abs(shown - mixed).max(axis=2) <= 3).sum() > 10, color


@pytest.mark.parametrize(
    ("accuracies", "baseline_index"),
    [([0.5], 0), ([None, 0.4], 0), ([0.4, 0.5], 1), ([0.5, 0.5, 0.5], 2), ([0.1 + i / 500 for i in range(200)], 7)],
)
def test_leaderboard_of_one_equal_unscored_and_many_trials(
    draw: Callable[..., np.ndarray], accuracies: list[float | None], baseline_index: int
) -> None:
    pixels = draw(draw_leaderboard, *board(accuracies, baseline_index))
    assert (ink(pixels, "#009E73") > 0) == (accuracies[baseline_index] is not None)  # no outcome has this green
    red, green, blue = np.moveaxis(pixels.astype(int), 2, 0)
    greenish = (green > red + 30) & (green > blue + 10)  # the line may be blurred
    longest = greenish.sum(axis=1).max()  # a dashed line over the whole width, not only a ring and a name
    assert (longest > WIDTH / 4) == (accuracies[baseline_index] is not None)


def test_a_trial_that_diverged_is_not_labelled_as_the_best(draw: Callable[..., np.ndarray]) -> None:
    def drawn(*names: str) -> np.ndarray:
        return draw(draw_leaderboard, names, [0.6, 0.5, 0.9], [100, 200, 300], ["finished", "asha", "diverged"], 1)

    assert (drawn("trial 1", "trial 0", "trial 2") == drawn("trial 1", "trial 0", "trial 8")).all()
    assert (drawn("trial 1", "trial 0", "trial 2") != drawn("trial 8", "trial 0", "trial 2")).any()
