"""Where the boxes of a graph stand: in columns by their longest path, with a lane for every arrow that passes a column.

A small form of Sugiyama's layered drawing (1981). Arrows bend between columns only, where no box stands, and cross a
column in a lane of their own, so none runs through a box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LANE = 0.3
"""Height of a lane; a box has the height 1."""


@dataclass(frozen=True)
class Layout:
    """Columns count from 0 at the left, y from 0 at the top, downwards, in heights of a box."""

    columns: int
    height: float
    boxes: Mapping[str, tuple[int, float]]
    """Column and y of each box's middle."""
    lanes: Mapping[tuple[str, int], float]
    """The y at which the arrows from a box pass a column: they part behind the last column they share."""

    def route(self, source: str, target: str) -> list[tuple[int, float]]:
        """The points (column, y) of an arrow, its two boxes included."""
        first, last = self.boxes[source], self.boxes[target]
        between = range(first[0] + 1, last[0])
        return [first, *((column, self.lanes[source, column]) for column in between), last]


def arrange(inputs: Mapping[str, Sequence[str]]) -> Layout:
    """Lays out the boxes, given by name with their inputs, each after its inputs."""
    column_of = _columns(inputs)
    columns = max(column_of.values(), default=-1) + 1
    lanes_of = _lanes(inputs, column_of)
    # A box stands at (its name, its column), a lane at (its source's name, the column that it passes).
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
    """The longest path to each box, in arrows."""
    columns: dict[str, int] = {}
    for name, sources in inputs.items():
        columns[name] = 1 + max((columns[source] for source in sources), default=-1)
    return columns


def _lanes(inputs: Mapping[str, Sequence[str]], column_of: Mapping[str, int]) -> list[list[str]]:
    """For each column the boxes from further left whose arrows pass it."""
    reach = dict(column_of)
    for name, sources in inputs.items():
        for source in sources:
            reach[source] = max(reach[source], column_of[name])
    columns = range(max(column_of.values(), default=-1) + 1)
    return [[name for name in inputs if column_of[name] < column < reach[name]] for column in columns]


def _top(middles: Mapping[tuple[str, int], float], parents: Sequence[str], column: int) -> float:
    """The highest of what stands to the left and is connected: ordering by it keeps the longest chain in one row."""
    return min((middles[name, column] for name in parents), default=0.0)
