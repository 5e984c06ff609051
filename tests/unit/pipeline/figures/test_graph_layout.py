"""Tests the layout of a graph: nothing overlaps, every arrow leads to the right, and none crosses a box."""

import itertools
import random

import pytest

from pipeline.figures.graph_layout import LANE, Layout, arrange

SWEEP = {
    "prepare": [],
    "search": ["prepare"],
    "evaluate": ["search"],
    "register": ["search", "evaluate"],
    "report": ["prepare", "search", "evaluate", "register"],
}


def random_graph(seed: int) -> dict[str, list[str]]:
    rng = random.Random(seed)
    names = [f"stage{number}" for number in range(rng.randint(1, 12))]
    return {name: rng.sample(names[:position], rng.randint(0, min(position, 4))) for position, name in enumerate(names)}


def extents(layout: Layout) -> dict[int, list[tuple[float, float]]]:
    """Returns the top and the bottom of all boxes and lanes by column, sorted."""
    found: dict[int, list[tuple[float, float]]] = {}
    for column, y in layout.boxes.values():
        found.setdefault(column, []).append((y - 0.5, y + 0.5))
    for (_, column), y in layout.lanes.items():
        found.setdefault(column, []).append((y - LANE / 2, y + LANE / 2))
    return {column: sorted(rows) for column, rows in found.items()}


@pytest.mark.parametrize("inputs", [SWEEP, *(random_graph(seed) for seed in range(30))])
def test_boxes_and_lanes_never_overlap(inputs: dict[str, list[str]]) -> None:
    layout = arrange(inputs)
    for rows in extents(layout).values():
        assert rows[0][0] >= -1e-9
        assert rows[-1][1] <= layout.height + 1e-9
        assert all(above[1] <= below[0] + 1e-9 for above, below in itertools.pairwise(rows))


@pytest.mark.parametrize("inputs", [SWEEP, *(random_graph(seed) for seed in range(30))])
def test_an_arrow_goes_one_column_at_a_time_from_its_source_to_its_target(inputs: dict[str, list[str]]) -> None:
    layout = arrange(inputs)
    for name, source in ((name, source) for name, sources in inputs.items() for source in sources):
        route = layout.route(source, name)
        assert (route[0], route[-1]) == (layout.boxes[source], layout.boxes[name])
        columns = [column for column, _ in route]
        assert columns == list(range(columns[0], columns[-1] + 1))
        assert len(columns) >= 2
        # Between its ends, the arrow passes lanes and no boxes.
        assert not set(route[1:-1]) & set(layout.boxes.values())


def test_the_column_is_the_longest_path() -> None:
    layout = arrange(SWEEP)
    assert {name: column for name, (column, _) in layout.boxes.items()} == {
        "prepare": 0, "search": 1, "evaluate": 2, "register": 3, "report": 4,
    }  # fmt: skip
    assert layout.columns == 5


def test_a_chain_stands_in_one_row() -> None:
    assert {y for _, y in arrange(SWEEP).boxes.values()} == {0.5}


def test_no_boxes() -> None:
    assert arrange({}) == Layout(0, 0.0, {}, {})
