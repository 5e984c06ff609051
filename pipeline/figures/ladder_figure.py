"""Draws ASHA's ladder: a line for each trial through its rungs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from pipeline.figures.canvas import BLUE, DARK, GREEN, RED, new_figure, save, soften
from pipeline.trials.rungs import Decision


def draw_ladder(
    path: str,
    title: str,
    decisions: Mapping[int, Sequence[Decision]],
    finals: Mapping[int, float],
    max_epochs: int,
    winner: int,
) -> None:
    """Draws ASHA's ladder: a line for each trial through its rungs, and at each rung the trials in order of arrival.

    `decisions` holds the decisions on each trial, lowest rung first; `finals` holds the best validation accuracy
    (0 to 1) of each trial that ran to `max_epochs`. Trial 0 is the published configuration. A mark is filled where the
    trial continued; the dash above or below it is the cut-off that the trial was compared with.
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
    """The positions of all decisions: x counts the rungs from 0, and the full length is the last."""

    def __init__(
        self, decisions: Mapping[int, Sequence[Decision]], finals: Mapping[int, float], max_epochs: int
    ) -> None:
        self.decisions, self.finals = decisions, finals
        self.rungs = sorted({decision.epoch for made in decisions.values() for decision in made} - {max_epochs})
        self.arrived = {
            rung: max(decision.of for made in decisions.values() for decision in made if decision.epoch == rung)
            for rung in self.rungs
        }
        # The more trials, the fainter and smaller they are drawn: a thousand opaque lines would hide each other.
        count = max(len(decisions), 1)
        self.alpha, self.size = float(np.clip(12 / count, 0.06, 0.6)), float(np.clip(900 / count, 4, 30))

    def x(self, decision: Decision) -> float:
        """Returns a decision's x: in the order of arrival, spread over at most 0.7 of the distance between rungs."""
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
        """Draws a trial's line with its marks, and returns the position of its last mark, if it has any.

        A `width` in points makes the line stand out from the others.
        """
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
    """Labels the winner and the published configuration at the right, each at its end's height or below the other."""
    known = sorted(((end[1], trial) for trial, end in ends.items() if end is not None), reverse=True)
    low, high = axes.get_ylim()
    height = np.inf
    for accuracy, trial in known:
        # Three lines of text take 0.13 of the axes' height.
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
