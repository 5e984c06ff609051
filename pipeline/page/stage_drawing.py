"""Draws the graph of stages as SVG within the page, so that it has the page's colours and its text can be searched."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from pipeline.figures.graph_layout import Layout, arrange
from pipeline.page.number_texts import duration

_PITCH, _ROW = 150, 76
"""Pixels from column to column, and from row to row."""
_WIDTH, _HEIGHT = 112, 50
"""The size of a box in pixels."""
_MARGIN = 6
_BOX = Markup(
    '<g class="stage {outcome}"><rect x="{left}" y="{top}" width="{width}" height="{height}" rx="7"/>'
    '<text x="{x}" y="{y}" class="name">{name}</text><text x="{x}" y="{below}" class="note">{note}</text></g>'
)
_ARROW = Markup('<path class="arrow" d="{path}" marker-end="url(#arrowhead)"/>')
_SVG = Markup(
    '<svg class="graph" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
    'aria-label="The stages of the sweep, each after its inputs">'
    '<defs><marker id="arrowhead" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>{content}</svg>'
)


def draw_stages(stages: Sequence[Mapping[str, Any]]) -> Markup:
    """Draws a summary's stages as boxes, each to the right of its inputs.

    A box gives the time that its stage took or, if the result was cached, the run that the result is from.
    """
    layout = arrange({stage["name"]: stage["inputs"] for stage in stages})
    arrows = [_arrow(layout, source, stage["name"]) for stage in stages for source in stage["inputs"]]
    boxes = [_box(layout, stage) for stage in stages]
    width = 2 * _MARGIN + _PITCH * (layout.columns - 1) + _WIDTH
    height = 2 * _MARGIN + _ROW * (layout.height - 1) + _HEIGHT
    return _SVG.format(width=width, height=round(height), content=Markup("").join([*arrows, *boxes]))


def _box(layout: Layout, stage: Mapping[str, Any]) -> Markup:
    x, y = _middle(layout.boxes[stage["name"]])
    return _BOX.format(
        outcome=stage["outcome"], left=x - _WIDTH / 2, top=y - _HEIGHT / 2, width=_WIDTH, height=_HEIGHT, x=x,
        y=y - 3, below=y + 15, name=stage["name"], note=_note(stage),
    )  # fmt: skip


def _note(stage: Mapping[str, Any]) -> str:
    if stage["outcome"] == "cached":
        return f"from run {stage['run_id'][:8]}"
    return "" if stage["seconds"] is None else duration(stage["seconds"])


def _arrow(layout: Layout, source: str, target: str) -> Markup:
    """Draws an arrow that is horizontal where it passes a column, and S-shaped between columns."""
    half, places = _WIDTH / 2, [_middle(place) for place in layout.route(source, target)]
    path = f"M{places[0][0] + half:g},{places[0][1]:g}"
    for (start_x, start_y), (x, y) in pairwise(places):
        middle = (start_x + x) / 2
        path += f" L{start_x + half:g},{start_y:g} C{middle:g},{start_y:g} {middle:g},{y:g} {x - half:g},{y:g}"
    return _ARROW.format(path=path)


def _middle(place: tuple[int, float]) -> tuple[float, float]:
    column, y = place
    return _MARGIN + _WIDTH / 2 + column * _PITCH, round(_MARGIN + _HEIGHT / 2 + (y - 0.5) * _ROW, 1)
