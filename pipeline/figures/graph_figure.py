"""The stages as boxes and arrows."""

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path

from pipeline.figures.boxes import FILLS, INK, STROKES, Box
from pipeline.figures.canvas import DARK, DPI, HEIGHT, WIDTH, new_figure, plain, save
from pipeline.figures.graph_layout import Layout, arrange


def draw_graph(path: str, title: str, boxes: Sequence[Box]) -> None:
    """The stages as boxes from left to right, each after its inputs, coloured by outcome, the note under the name."""
    figure = new_figure(title)
    # Its coordinates are the figure's pixels, y downwards.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.set_axis_off()
    layout = arrange({box.name: box.inputs for box in boxes})
    canvas = _GraphCanvas(axes, layout)
    for box in boxes:
        canvas.draw_arrows(box)
        canvas.draw_box(box)
    outcomes = dict.fromkeys(box.outcome for box in boxes if box.outcome)
    figure.legend(
        handles=[Patch(facecolor=FILLS[key], edgecolor=STROKES[key], linewidth=1.5, label=key) for key in outcomes],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.01),
        ncol=max(len(outcomes), 1),
        frameon=False,
    )
    save(figure, path)


class _GraphCanvas:
    """Puts a layout's boxes and arrows on axes whose coordinates are pixels."""

    def __init__(self, axes: Axes, layout: Layout) -> None:
        self.axes, self.layout = axes, layout
        self.pitch = (WIDTH - 40) / max(layout.columns, 1)
        self.row = min(110.0, (HEIGHT - 130) / max(layout.height, 1.0))
        self.box_width, self.box_height = min(170.0, 0.74 * self.pitch), 0.68 * self.row
        self.top = 65 + (HEIGHT - 130 - self.row * layout.height) / 2
        # Bold letters are about 0.72 of the font size wide; a point is DPI / 72 pixels.
        self.letter = 0.72 * DPI / 72
        longest = max(map(len, layout.boxes), default=1)
        fitting = 0.92 * self.box_width / (self.letter * longest)
        self.font_size = float(np.clip(min(0.2 * self.box_height, fitting), 6, 11))

    def draw_box(self, box: Box) -> None:
        x, y = self._middle(self.layout.boxes[box.name])
        width, height = self.box_width, self.box_height
        shape = FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=7",
            facecolor=FILLS[box.outcome], edgecolor=STROKES[box.outcome], linewidth=1.5, zorder=2,
        )  # fmt: skip
        self.axes.add_patch(shape)
        letters = int(width / (self.letter * self.font_size))
        name = plain(box.name, letters)
        small = 0.82 * self.font_size
        note = textwrap.wrap(plain(box.note, 200), int(1.4 * letters), max_lines=2, placeholder="…")
        style: dict[str, Any] = {"ha": "center", "color": INK, "zorder": 3}
        if not note or height < 3.4 * self.font_size:
            self.axes.text(x, y, name, va="center", fontweight="bold", fontsize=self.font_size, **style)
            return
        between = y - height / 2 + (0.38 if len(note) == 1 else 0.3) * height
        self.axes.text(x, between, name, va="center", fontweight="bold", fontsize=self.font_size, **style)
        self.axes.text(x, between + 0.9 * self.font_size, "\n".join(note), va="top", fontsize=small, **style)

    def draw_arrows(self, box: Box) -> None:
        """From its inputs, in the order in which they come in, each to a place of its own on the box's left side."""
        routes = [self.layout.route(source, box.name) for source in box.inputs]
        routes.sort(key=lambda route: route[-2][1])
        for place, route in enumerate(routes):
            offset = (place - (len(routes) - 1) / 2) * min(10.0, 0.8 * self.box_height / len(routes))
            bend = self._bend(route, offset)
            arrow = FancyArrowPatch(path=bend, arrowstyle="-|>", mutation_scale=9, color=DARK, linewidth=1, zorder=1)
            self.axes.add_patch(arrow)

    def _bend(self, route: Sequence[tuple[int, float]], offset: float) -> Path:
        """Level across the columns, an S between them; it ends `offset` pixels below the middle of the last box."""
        half = self.box_width / 2
        points = [self._middle(place) for place in route]
        points[-1] = (points[-1][0], points[-1][1] + offset)
        vertices, codes = [(points[0][0] + half, points[0][1])], [Path.MOVETO]
        for (start_x, start_y), (x, y) in pairwise(points):
            middle = (start_x + x) / 2
            vertices += [(start_x + half, start_y), (middle, start_y), (middle, y), (x - half, y)]
            codes += [Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
        return Path(vertices, codes)

    def _middle(self, place: tuple[int, float]) -> tuple[float, float]:
        column, y = place
        return 20 + (column + 0.5) * self.pitch, self.top + y * self.row
