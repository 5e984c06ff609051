"""The stages as boxes: each outcome in its colour."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest

from pipeline.figures.boxes import FILLS, Box, StageOutcome
from pipeline.figures.graph_figure import draw_graph
from tests.unit.pipeline.figures.pixels import ink


def stages(*outcomes: StageOutcome | None) -> list[Box]:
    """A chain, the last of which reads all before it."""
    names = [f"stage{number}" for number in range(len(outcomes))]
    inputs = [tuple(names[max(position - 1, 0) : position]) for position in range(len(names) - 1)]
    return [
        Box(name, before, outcome, "42 s")
        for name, before, outcome in zip(names, [*inputs, tuple(names[:-1])], outcomes, strict=True)
    ]


def test_the_graph_shows_each_outcome_in_its_colour(draw: Callable[..., np.ndarray]) -> None:
    pixels = draw(draw_graph, stages("run", "cached", "run", "cached"))[:-60]
    for outcome in get_args(StageOutcome):
        assert ink(pixels, FILLS[outcome]) > 1000, outcome
    bare = draw(draw_graph, stages(None, None, None, None))
    # The greys of a line's soft edge may hit one of them.
    assert sum(ink(bare, fill) for outcome, fill in FILLS.items() if outcome) < 100


@pytest.mark.parametrize("count", [1, 3, 24])
def test_a_graph_of_one_and_of_many_stages(draw: Callable[..., np.ndarray], count: int) -> None:
    outcomes: list[StageOutcome] = ["run"] * count
    assert ink(draw(draw_graph, stages(*outcomes))[:-60], FILLS["run"]) > 1000
