"""Tests the figure of ASHA's ladder: the winner, the published configuration, the trials that continued, cut-offs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipeline.figures.canvas import GREEN, RED, WIDTH
from pipeline.figures.ladder_figure import draw_ladder
from pipeline.trials.rungs import Decision
from tests.unit.pipeline.figures.pixels import columns, ink


def ladder(count: int) -> tuple[dict[int, list[Decision]], dict[int, float]]:
    """Returns the decisions at epochs 3 and 9, where every third trial continues, and the accuracies at epoch 27."""
    made: dict[int, list[Decision]] = {}
    alive = list(range(count))
    for epoch in (3, 9):
        for position, trial in enumerate(alive, start=1):
            go_on, cutoff = trial % 3 ** (2 if epoch == 9 else 1) == 0, None if position == 1 else 0.5
            decision = Decision(epoch, 0.3 + 0.4 * go_on + epoch / 90, cutoff, rank=1, of=position, go_on=go_on)
            made.setdefault(trial, []).append(decision)
        alive = [trial for trial in alive if made[trial][-1].go_on]
    return made, {trial: 0.9 + trial / 100 / count for trial in alive}


@pytest.mark.parametrize("count", [1, 3, 32, 1000])
def test_the_ladder_shows_the_winner_and_the_published(draw: Callable[..., np.ndarray], count: int) -> None:
    decisions, finals = ladder(count)
    winner = max(finals, key=lambda trial: finals[trial])
    pixels = draw(draw_ladder, decisions, finals, 27, winner)
    # More than the names beside the lines, which are in the lines' colours.
    assert columns(pixels, RED) > WIDTH / 3
    # If the published configuration won, one red line stands for both.
    assert (columns(pixels, GREEN) > WIDTH / 3) == (winner != 0)


def test_the_ladder_marks_who_went_on_and_where_the_cutoff_was(draw: Callable[..., np.ndarray]) -> None:
    decisions, finals = ladder(9)
    stopped = {trial: [replace(one, go_on=False) for one in made] for trial, made in decisions.items()}
    uncut = {trial: [replace(one, cutoff=None) for one in made] for trial, made in decisions.items()}
    pixels, hollow, bare = (draw(draw_ladder, made, finals, 27, 0)[60:-80] for made in (decisions, stopped, uncut))
    assert ink(hollow, RED) < ink(pixels, RED)
    assert ink(bare, "#333333") < ink(pixels, "#333333")


def test_a_ladder_without_rungs(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(draw_ladder, {0: [], 1: []}, {0: 0.5, 1: 0.6}, 1, winner=1)
    assert ink(pixels, RED) > 0
