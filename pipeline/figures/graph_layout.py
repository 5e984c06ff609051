"""Lays out the boxes of a graph in columns by their longest path, with a lane for every arrow that crosses a column.

A small form of Sugiyama's layered graph drawing (1981). Arrows bend only between columns, where there are no boxes, and
cross a column in a lane of their own, so that none runs through a box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LANE = 0.3
"""The height of a lane, where a box has the height 1."""


@dataclass(frozen=True)
class Layout:
    """The positions of boxes and arrows.

    Columns count from 0 at the left; y counts downwards from 0 at the top, in heights of a box.
    """

    columns: int
    height: float
    boxes: Mapping[str, tuple[int, float]]
    """The column of each box and the y of its middle, by name."""
    lanes: Mapping[tuple[str, int], float]
    """The y at which the arrows from a box cross a column, by the box's name and the column. The arrows of a box
    share a lane, and separate after the last column that they share."""

    def route(self, source: str, target: str) -> list[tuple[int, float]]:
        """Returns the points (column, y) of an arrow, including those of its two boxes."""
        first, last = self.boxes[source], self.boxes[target]
        between = range(first[0] + 1, last[0])
        return [first, *((column, self.lanes[source, column]) for column in between), last]


def arrange(inputs: Mapping[str, Sequence[str]]) -> Layout:
    """Lays out the boxes; `inputs` has the inputs of each box by its name, and has each box after its inputs."""
    column_of = _columns(inputs)
    columns = max(column_of.values(), default=-1) + 1
    lanes_of = _lanes(inputs, column_of)
    # The key of a box is (its name, its column), and that of a lane (its source's name, the column that it crosses).
    middles: dict[tuple[str, int], float] = {}
    height = 0.0
    for column in range(columns):
        boxes = [name for name in inputs if column_of[name] == column]
        parents = {name: inputs[name] for name in boxes} | {name: [name] for name in lanes_of[column]}
        y = 0.0
        for name in sorted(parents, key=lambda name: _top(middles, parents[name], column - 1)):
            size = 1.0 if column_of[name] == column else LANE
            middles[name, column] = y + size / 2
            y += size
        height = max(height, y)
    boxes_at = {name: (column, middles[name, column]) for name, column in column_of.items()}
    lanes_at = {place: y for place, y in middles.items() if column_of[place[0]] != place[1]}
    return Layout(columns, height, boxes_at, lanes_at)


def _columns(inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Returns the column of each box: the number of arrows on the longest path to it."""
    columns: dict[str, int] = {}
    for name, sources in inputs.items():
        columns[name] = 1 + max((columns[source] for source in sources), default=-1)
    return columns


def _lanes(inputs: Mapping[str, Sequence[str]], column_of: Mapping[str, int]) -> list[list[str]]:
    """Returns, for each column, the boxes further left whose arrows cross it."""
    reach = dict(column_of)
    for name, sources in inputs.items():
        for source in sources:
            reach[source] = max(reach[source], column_of[name])
    columns = range(max(column_of.values(), default=-1) + 1)
    return [[name for name in inputs if column_of[name] < column < reach[name]] for column in columns]


def _top(middles: Mapping[tuple[str, int], float], parents: Sequence[str], column: int) -> float:
    """Returns the y of the highest connected box or lane in the column to the left.

    Ordering by it keeps the longest chain in one row.
    """
    return min((middles[name, column] for name in parents), default=0.0)
