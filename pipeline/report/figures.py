"""The figures of a trial and of a sweep, each one PNG of 900 x 550 pixels.

Imports matplotlib's object interface and numpy alone, keeps no global state: a side process starts and draws in
moments while trials keep every core busy. That is also why the layout is fixed by hand: matplotlib's own layout
engines draw a figure two or three times over.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from pipeline.report.boxes import FILLS, INK, STROKES, Box
from pipeline.report.layout import Layout, arrange

if TYPE_CHECKING:
    # What stands behind it would make the start of a side process slow.
    from pipeline.trials.rungs import Decision

DPI = 100
WIDTH, HEIGHT = 900, 550
"""Pixels."""
# More have no room for a name and a number each.
MOST_NAMED_CLASSES = 20
LISTED_CLASSES = 8
MOST_MARKED_EPOCHS = 40

# Okabe and Ito's palette: told apart with every kind of colour vision. The markers say the same once more.
BLUE, GREEN, ORANGE, RED, PINK = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
GREY, DARK = "#999999", "#333333"
OUTCOME_STYLES = {
    "finished": (BLUE, "o"),
    "asha": (ORANGE, "v"),
    "diverged": (RED, "X"),
    "interrupted": (PINK, "s"),
    "failed": (DARK, "P"),
}


def draw_curves(path: str, title: str, epochs: Sequence[Mapping[str, float]], best_epoch: int) -> None:
    """Loss and accuracy by epoch, training and validation, the best epoch marked.

    `epochs` holds at least one entry, in order, with the tracked names `epoch`, `train/loss`, `val/loss`,
    `train/accuracy` and `val/accuracy` (accuracies from 0 to 1); `best_epoch` is the `epoch` of one of them.
    """
    figure = _new_figure(title)
    panels = (
        (figure.add_axes((0.075, 0.11, 0.4, 0.7)), "loss", "cross-entropy loss"),
        (figure.add_axes((0.57, 0.11, 0.4, 0.7)), "accuracy", "accuracy"),
    )
    best = next(epoch for epoch in epochs if epoch["epoch"] == best_epoch)
    numbers = [epoch["epoch"] for epoch in epochs]
    marker = "o" if len(epochs) <= MOST_MARKED_EPOCHS else ""
    for axes, key, label in panels:
        for split, color, name in (("train", BLUE, "train (augmented)"), ("val", RED, "validation")):
            values = [epoch[f"{split}/{key}"] for epoch in epochs]
            axes.plot(numbers, values, color=color, marker=marker, markersize=4, label=name)
        axes.axvline(best_epoch, color=GREY, linestyle=":", zorder=0)
        best_label = f"best: epoch {best_epoch:g}, {best['val/accuracy']:.1%}"
        axes.plot(best_epoch, best[f"val/{key}"], "*", color=RED, markeredgecolor=DARK, markersize=14, label=best_label)
        axes.set(xlabel="epoch", ylabel=label, xlim=(numbers[0] - 0.5, numbers[-1] + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
        _soften(axes)
    panels[1][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.925), ncol=3, frameon=False)
    _save(figure, path)


def draw_class_accuracy(path: str, title: str, class_names: Sequence[str], accuracies: Sequence[float | None]) -> None:
    """A bar for each class's accuracy (0 to 1, None for a class without images) and their mean as a line.

    Beyond 20 classes the bars are sorted and thin, and the best and the worst are listed beside them.
    """
    figure = _new_figure(title)
    if len(class_names) <= MOST_NAMED_CLASSES:
        _draw_named_bars(figure, class_names, accuracies)
    else:
        _draw_sorted_bars(figure, class_names, accuracies)
    _save(figure, path)


def _draw_named_bars(figure: Figure, class_names: Sequence[str], accuracies: Sequence[float | None]) -> None:
    axes = figure.add_axes((0.25, 0.11, 0.68, 0.77))
    rows = range(len(class_names))
    axes.barh(rows, [accuracy or 0.0 for accuracy in accuracies], height=0.75, color=BLUE)
    for row, accuracy in zip(rows, accuracies, strict=True):
        if accuracy is not None and accuracy > 0.12:
            axes.text(accuracy - 0.008, row, f"{accuracy:.1%}", color="white", ha="right", va="center", fontsize=9)
        else:
            value = "n/a" if accuracy is None else f"{accuracy:.1%}"
            backing = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text((accuracy or 0.0) + 0.01, row, value, ha="left", va="center", fontsize=9, bbox=backing)
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if known:
        mean = float(np.mean(known))
        # Behind the bars, where it cannot cross out a number.
        axes.axvline(mean, color=RED, linestyle="--", zorder=0)
        axes.text(mean, 1.01, f"mean {mean:.1%}", color=RED, ha="center", transform=axes.get_xaxis_transform())
    axes.set(xlim=(0, 1), ylim=(len(class_names) - 0.4, -0.6), xlabel="accuracy within the class")
    axes.set_yticks(rows, [_plain(name, 28) for name in class_names], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    _soften(axes)
    axes.grid(visible=False, axis="y")


def _draw_sorted_bars(figure: Figure, class_names: Sequence[str], accuracies: Sequence[float | None]) -> None:
    axes = figure.add_axes((0.08, 0.11, 0.55, 0.77))
    known = [(accuracy, name) for name, accuracy in zip(class_names, accuracies, strict=True) if accuracy is not None]
    known.sort()
    values = [accuracy for accuracy, _ in known]
    axes.set(xlim=(0, max(len(known), 1)), ylim=(0, 1), ylabel="accuracy within the class")
    missing = len(class_names) - len(known)
    without = f"; {missing} without images are left out" if missing else ""
    axes.set_xlabel(f"{len(known)} classes, worst to best{without}")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _soften(axes)
    if not known:
        return
    # One shape in place of a thousand bars, which would take a second to draw.
    axes.stairs(values, fill=True, color=BLUE)
    mean = float(np.mean(values))
    axes.axhline(mean, color=RED, linestyle="--", label=f"mean {mean:.1%}")
    axes.legend(loc="upper left", frameon=False, labelcolor=RED)
    listed = min(LISTED_CLASSES, len(known) // 2)
    _list_classes(figure, 0.88, "best", known[: -listed - 1 : -1])
    _list_classes(figure, 0.46, "worst", known[:listed])


def _list_classes(figure: Figure, top: float, heading: str, classes: Sequence[tuple[float, str]]) -> None:
    """Writes names and accuracies in two columns at the right of the figure, downwards from `top` (0 to 1)."""
    figure.text(0.67, top, heading, va="top", fontweight="bold", fontsize=9)
    names = "\n".join(_plain(name, 30) for _, name in classes)
    values = "\n".join(f"{accuracy:.1%}" for accuracy, _ in classes)
    figure.text(0.67, top - 0.04, names, va="top", fontsize=9, linespacing=1.4)
    figure.text(0.97, top - 0.04, values, va="top", ha="right", fontsize=9, linespacing=1.4)


def draw_confusion_matrix(path: str, title: str, class_names: Sequence[str], confusion: NDArray[np.int64]) -> None:
    """The confusion matrix (num_classes, num_classes), rows true and columns predicted, coloured by share of the row.

    Up to 20 classes the cells hold their counts. The line under the title names the largest confusion.
    """
    figure = _new_figure(title)
    figure.text(0.5, 0.905, largest_confusion(class_names, confusion), ha="center", color=DARK, fontsize=10)
    side, bottom = 380, 0.195
    axes = figure.add_axes((0.27, bottom, side / WIDTH, side / HEIGHT))
    totals = confusion.sum(axis=1, keepdims=True)
    # A true class without images has no shares, and no colour.
    shares = np.divide(confusion, totals, out=np.full(confusion.shape, np.nan), where=totals > 0)
    # The root of the share: on a plain scale the confusions, a few per cent each, would all look white.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    axes.imshow(shares, cmap="Blues", norm=norm, aspect="auto", interpolation="nearest")
    if len(class_names) <= MOST_NAMED_CLASSES:
        _name_cells(axes, class_names, confusion, shares)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)))
    axes.set(xlabel="predicted class", ylabel="true class")
    scale_axes = figure.add_axes((0.72, bottom, 0.02, side / HEIGHT))
    scale = figure.colorbar(ScalarMappable(norm, "Blues"), cax=scale_axes, label="share of the true class")
    scale.set_ticks([0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
    scale_axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _save(figure, path)


def _name_cells(
    axes: Axes, class_names: Sequence[str], confusion: NDArray[np.int64], shares: NDArray[np.float64]
) -> None:
    """Writes the classes beside the matrix and the counts, zeros left out, into its cells."""
    count = len(class_names)
    names = [_plain(name, 22) for name in class_names]
    axes.set_yticks(range(count), names, fontsize=8.5)
    # Slanted names must leave room for the axis label under them.
    axes.set_xticks(range(count), [_plain(name, 14) for name in class_names], fontsize=8.5)
    if max(map(len, names)) > 3:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    # A digit is about 0.65 of the font size wide; 72 points are DPI pixels.
    cell, digits = axes.bbox.width / count, max(len(str(confusion.max())), 2)
    size = min(10.0, 0.9 * cell / (0.65 * digits) * 72 / DPI)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        # The scale is a root: half of its colours are used up at a quarter.
        color = "white" if shares[row, column] > 0.25 else DARK
        axes.text(column, row, str(confusion[row, column]), color=color, ha="center", va="center", fontsize=size)


def largest_confusion(class_names: Sequence[str], confusion: NDArray[np.int64]) -> str:
    """The confusion of most images in words; of equal ones, that of the largest share of its true class."""
    totals = confusion.sum(axis=1)
    if not totals.any():
        return "no images"
    mistakes = confusion * (1 - np.eye(len(confusion), dtype=np.int64))
    if not mistakes.any():
        return "no image taken for another class"
    true, predicted = max(
        zip(*np.nonzero(mistakes), strict=True),
        key=lambda cell: (mistakes[cell], mistakes[cell] / totals[cell[0]]),
    )
    count, total = mistakes[true, predicted], totals[true]
    names = _plain(class_names[true], 30), _plain(class_names[predicted], 30)
    return f"most often: {names[0]} taken for {names[1]} ({count} of {total}, {count / total:.1%})"


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
    figure = _new_figure(title)
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
    _soften(axes)
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
    _save(figure, path)


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
        f"{role}: {_plain(names[winner], 40)}, {scores[winner]:.1%}",
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
    figure = _new_figure(title)
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
    _save(figure, path)


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
        name = _plain(box.name, letters)
        small = 0.82 * self.font_size
        note = textwrap.wrap(_plain(box.note, 200), int(1.4 * letters), max_lines=2, placeholder="…")
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
    decisions: Mapping[int, Sequence["Decision"]],
    finals: Mapping[int, float],
    max_epochs: int,
    winner: int,
) -> None:
    """ASHA's ladder: a line for each trial through its rungs; at each rung its trials in the order of their arrival.

    `decisions` holds each trial's, lowest rung first; `finals` the best validation accuracy (0 to 1) of the trials that
    ran to `max_epochs`. Trial 0 is the published configuration. A mark is filled where the trial went on, and the dash
    above or below it is the cut-off that it met.
    """
    figure = _new_figure(title)
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
    _soften(axes)
    axes.grid(visible=False, axis="x")
    figure.legend(handles=_ladder_legend(), loc="lower center", bbox_to_anchor=(0.47, 0.0), ncol=3, frameon=False)
    _save(figure, path)


class _Ladder:
    """The places of all decisions: x counts the rungs from 0, the full length last."""

    def __init__(
        self, decisions: Mapping[int, Sequence["Decision"]], finals: Mapping[int, float], max_epochs: int
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

    def x(self, decision: "Decision") -> float:
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
    figure = _new_figure(title)
    figure.text(0.5, 0.905, _plain(note, 120), ha="center", color=DARK, fontsize=10)
    axes = figure.add_axes((0.22, 0.11, 0.7, 0.75))
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    rows = range(len(ordered))
    axes.barh(rows, [share for _, share in ordered], height=min(0.7, 0.09 * len(ordered)), color=BLUE)
    for row, (_, share) in enumerate(ordered):
        axes.annotate(f"{share:.1%}", (share, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(rows, [_plain(name, 24) for name, _ in ordered], fontsize=9.5)
    axes.set(ylim=(len(ordered) - 0.4, -0.6), xlabel="share of the importance")
    # Room for the number behind the longest bar.
    axes.set_xlim(0, 1.12 * max([*shares.values(), 0.01]))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    _soften(axes)
    axes.grid(visible=False, axis="y")
    _save(figure, path)


def _abbreviate(count: float) -> str:
    """2690000 as 2.69M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.3g}"


def _new_figure(title: str) -> Figure:
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    figure.text(0.5, 0.975, _plain(title, 100), ha="center", va="top", fontsize=12, fontweight="bold")
    return figure


def _save(figure: Figure, path: str) -> None:
    # Level 1 takes less time than the default level, for a few more kilobytes.
    FigureCanvasAgg(figure).print_png(path, pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]


def _soften(axes: Axes) -> None:
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(text: str, length: int) -> str:
    """One line of at most `length` characters, in which a dollar is a dollar and starts no formula."""
    line = " ".join(text.split())
    if len(line) > length:
        line = line[: length - 1].rstrip() + "…"
    return line.replace("$", r"\$")
