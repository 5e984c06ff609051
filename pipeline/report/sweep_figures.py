"""The figures of a sweep: leaderboard, graph of stages, ladder of rungs, importance of hyperparameters."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from pipeline.report.boxes import FILLS, INK, STROKES, Box
from pipeline.report.canvas import (
    BLUE,
    DARK,
    DPI,
    GREEN,
    HEIGHT,
    ORANGE,
    PINK,
    RED,
    WIDTH,
    new_figure,
    plain,
    save,
    soften,
)
from pipeline.report.layout import Layout, arrange
from pipeline.trials.rungs import Decision

OUTCOME_STYLES = {
    "finished": (BLUE, "o"),
    "asha": (ORANGE, "v"),
    "diverged": (RED, "X"),
    "interrupted": (PINK, "s"),
    "failed": (DARK, "P"),
}


def draw_leaderboard(
    path: str,
    title: str,
    names: Sequence[str],
    accuracies: Sequence[float | None],
    parameter_counts: Sequence[int],
    outcomes: Sequence[str],
    baseline_index: int,
) -> None:
    """Validation accuracy (0 to 1, None before the first epoch's end) against model size, one mark for each trial.

    The outcomes are the keys of `OUTCOME_STYLES`. The best has the highest accuracy, and of equals comes first.
    """
    figure = new_figure(title)
    axes = figure.add_axes((0.095, 0.17, 0.765, 0.71))
    sizes = np.array(parameter_counts, dtype=float)
    scores = np.array([np.nan if accuracy is None else accuracy for accuracy in accuracies])
    marks = [
        _scatter_outcome(axes, outcome, np.array(outcomes) == outcome, sizes, scores) for outcome in OUTCOME_STYLES
    ]
    axes.set(xscale="log", xlim=(sizes.min() / 1.6, sizes.max() * 1.6))
    axes.set(xlabel="parameters", ylabel="best validation accuracy")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _abbreviate(value)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    # Room above for the best's label.
    axes.margins(y=0.12)
    soften(axes)
    if np.isfinite(scores).any():
        _annotate(axes, names, sizes, scores, baseline_index)
    unscored = int(np.isnan(scores).sum())
    if unscored:
        figure.text(0.98, 0.905, f"not drawn: {unscored} without a finished epoch", ha="right", color=DARK, fontsize=9)
    figure.legend(
        handles=[mark for mark in marks if mark is not None],
        loc="lower center",
        bbox_to_anchor=(0.47, 0.0),
        ncol=len(OUTCOME_STYLES),
        frameon=False,
        handletextpad=0.2,
    )
    save(figure, path)


def _scatter_outcome(
    axes: Axes, outcome: str, chosen: NDArray[np.bool_], sizes: NDArray[np.float64], scores: NDArray[np.float64]
) -> PathCollection | None:
    if not chosen.any():
        return None
    color, marker = OUTCOME_STYLES[outcome]
    label = f"{outcome} ({chosen.sum()})"
    return axes.scatter(
        sizes[chosen], scores[chosen], s=55, color=color, marker=marker, alpha=0.8, linewidths=0, label=label
    )


def _annotate(
    axes: Axes, names: Sequence[str], sizes: NDArray[np.float64], scores: NDArray[np.float64], baseline_index: int
) -> None:
    """Rings the best and the baseline; the one's label stands above all marks, the other's right of them."""
    winner = int(np.nanargmax(scores))
    left, right = np.log(axes.get_xlim())
    position = (np.log(sizes[winner]) - left) / (right - left)
    side = "left" if position < 0.25 else "right" if position > 0.75 else "center"
    role = "best, the published baseline" if winner == baseline_index else "best"
    axes.annotate(
        f"{role}: {plain(names[winner], 40)}, {scores[winner]:.1%}",
        (sizes[winner], scores[winner]),
        (0, 10),
        textcoords="offset points",
        ha=side,
        fontweight="bold",
        fontsize=9.5,
    )
    ringed = [winner]
    if np.isfinite(scores[baseline_index]):
        ringed.append(baseline_index)
        score = scores[baseline_index]
        axes.axhline(score, color=GREEN, linestyle="--", zorder=0)
        text = f"published\nbaseline\n{score:.1%}"
        axes.text(1.01, score, text, transform=axes.get_yaxis_transform(), va="center", color=GREEN, fontsize=9.5)
    axes.scatter(sizes[ringed], scores[ringed], s=150, facecolors="none", edgecolors=[DARK, GREEN][: len(ringed)])


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


def draw_ladder(
    path: str,
    title: str,
    decisions: Mapping[int, Sequence[Decision]],
    finals: Mapping[int, float],
    max_epochs: int,
    winner: int,
) -> None:
    """ASHA's ladder: a line for each trial through its rungs; at each rung its trials in the order of their arrival.

    `decisions` holds each trial's, lowest rung first; `finals` the best validation accuracy (0 to 1) of the trials that
    ran to `max_epochs`. Trial 0 is the published configuration. A mark is filled where the trial went on, and the dash
    above or below it is the cut-off that it met.
    """
    figure = new_figure(title)
    axes = figure.add_axes((0.095, 0.17, 0.765, 0.71))
    ladder = _Ladder(decisions, finals, max_epochs)
    ladder.draw_cutoffs(axes)
    for trial in decisions.keys() | finals.keys():
        if trial not in (0, winner):
            ladder.draw_trial(axes, trial, BLUE, None)
    heights = {}
    for trial, color in {0: GREEN, winner: RED}.items():
        heights[trial] = ladder.draw_trial(axes, trial, color, 2.0)
    _label_ends(axes, heights, winner)
    names = [*(f"epoch {epoch}" for epoch in ladder.rungs), f"best of {max_epochs} epochs"]
    axes.set_xticks(range(len(names)), names)
    axes.set(xlim=(-0.5, len(names) - 0.85), ylabel="validation accuracy")
    axes.set_xlabel("rung of ASHA; from left to right within a rung: first to last trial there")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    soften(axes)
    axes.grid(visible=False, axis="x")
    figure.legend(handles=_ladder_legend(), loc="lower center", bbox_to_anchor=(0.47, 0.0), ncol=3, frameon=False)
    save(figure, path)


class _Ladder:
    """The places of all decisions: x counts the rungs from 0, the full length last."""

    def __init__(
        self, decisions: Mapping[int, Sequence[Decision]], finals: Mapping[int, float], max_epochs: int
    ) -> None:
        self.decisions, self.finals = decisions, finals
        self.rungs = sorted({decision.epoch for made in decisions.values() for decision in made} - {max_epochs})
        self.arrived = {
            rung: max(decision.of for made in decisions.values() for decision in made if decision.epoch == rung)
            for rung in self.rungs
        }
        # Thinner the more there are: a thousand lines at full strength are a blot.
        count = max(len(decisions), 1)
        self.alpha, self.size = float(np.clip(12 / count, 0.06, 0.6)), float(np.clip(900 / count, 4, 30))

    def x(self, decision: Decision) -> float:
        """In the order of arrival, over at most 0.7 of the way from rung to rung."""
        count = self.arrived[decision.epoch]
        return self.rungs.index(decision.epoch) + min(0.7, 0.06 * count) * ((decision.of - 0.5) / count - 0.5)

    def draw_cutoffs(self, axes: Axes) -> None:
        dashes = []
        for decision in (decision for made in self.decisions.values() for decision in made):
            if decision.cutoff is not None and decision.epoch in self.arrived:
                x, half = self.x(decision), min(0.02, 0.35 / self.arrived[decision.epoch])
                dashes.append(((x - half, decision.cutoff), (x + half, decision.cutoff)))
        axes.add_collection(LineCollection(dashes, colors=DARK, linewidths=1.6, zorder=4))

    def draw_trial(self, axes: Axes, trial: int, color: str, width: float | None) -> tuple[float, float] | None:
        """One line with its marks; `width` in points sets it off from the others. Gives its end, if it has one."""
        made = [decision for decision in self.decisions.get(trial, ()) if decision.epoch in self.arrived]
        points = [(self.x(decision), decision.accuracy) for decision in made]
        filled = [decision.go_on for decision in made]
        if trial in self.finals:
            points.append((float(len(self.rungs)), self.finals[trial]))
            filled.append(True)
        if not points:
            return None
        xs, ys = zip(*points, strict=True)
        above = 2 if width is None else 6
        axes.plot(xs, ys, color=color, linewidth=width or 0.9, alpha=self.alpha if width is None else 1, zorder=above)
        size = self.size if width is None else max(self.size, 26)
        fills = [color if went_on else "white" for went_on in filled]
        axes.scatter(xs, ys, s=size, facecolors=fills, edgecolors=color, linewidths=0.8, zorder=above + 1)
        return points[-1]


def _label_ends(axes: Axes, ends: Mapping[int, tuple[float, float] | None], winner: int) -> None:
    """Names the winner and the published configuration at the right, each at its end's height or under the other."""
    known = sorted(((end[1], trial) for trial, end in ends.items() if end is not None), reverse=True)
    low, high = axes.get_ylim()
    height = np.inf
    for accuracy, trial in known:
        # Three lines of text, of the axes' height.
        height = min(accuracy, height - 0.13 * (high - low))
        role = "published" if trial == 0 else f"trial {trial}"
        text = f"winner:\n{role}\n{accuracy:.1%}" if trial == winner else f"{role}\n{accuracy:.1%}"
        color = RED if trial == winner else GREEN
        axes.text(1.01, height, text, transform=axes.get_yaxis_transform(), va="center", color=color, fontsize=9.5)


def _ladder_legend() -> Iterable[Line2D]:
    shared: dict[str, Any] = {"color": BLUE, "linestyle": "", "marker": "o", "markersize": 6}
    return (
        Line2D([], [], label="went on", **shared),
        Line2D([], [], label="stopped", markerfacecolor="white", **shared),
        Line2D([], [], color=DARK, linewidth=1.6, label="cut-off at the decision"),
    )


def draw_importance(path: str, title: str, shares: Mapping[str, float], note: str) -> None:
    """A bar for each hyperparameter's share (0 to 1), the largest on top; `note` stands under the title."""
    figure = new_figure(title)
    figure.text(0.5, 0.905, plain(note, 120), ha="center", color=DARK, fontsize=10)
    axes = figure.add_axes((0.22, 0.11, 0.7, 0.75))
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    rows = range(len(ordered))
    axes.barh(rows, [share for _, share in ordered], height=min(0.7, 0.09 * len(ordered)), color=BLUE)
    for row, (_, share) in enumerate(ordered):
        axes.annotate(f"{share:.1%}", (share, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(rows, [plain(name, 24) for name, _ in ordered], fontsize=9.5)
    axes.set(ylim=(len(ordered) - 0.4, -0.6), xlabel="share of the importance")
    # Room for the number behind the longest bar.
    axes.set_xlim(0, 1.12 * max([*shares.values(), 0.01]))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    soften(axes)
    axes.grid(visible=False, axis="y")
    save(figure, path)


def _abbreviate(count: float) -> str:
    """2690000 as 2.69M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.3g}"
