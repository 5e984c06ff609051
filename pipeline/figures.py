"""The figures of a trial and of a sweep, each one PNG of 900 x 550 pixels.

Imports matplotlib's object interface and numpy alone, keeps no global state: a side process starts and draws in
moments while trials keep every core busy. That is also why the layout is fixed by hand: matplotlib's own layout
engines draw a figure two or three times over.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

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

    The outcomes are the keys of `OUTCOME_STYLES`. The winner has the highest accuracy, and of equals comes first.
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
    # Room above for the winner's label.
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
    """Rings the winner and the baseline; the one's label stands above all marks, the other's right of them."""
    winner = int(np.nanargmax(scores))
    left, right = np.log(axes.get_xlim())
    position = (np.log(sizes[winner]) - left) / (right - left)
    side = "left" if position < 0.25 else "right" if position > 0.75 else "center"
    role = "winner, the published baseline" if winner == baseline_index else "winner"
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
