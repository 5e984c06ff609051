"""Draws the figures of a training: curves by epoch, accuracy by class, confusion matrix."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from pipeline.figures.canvas import BLUE, DARK, DPI, GREY, HEIGHT, RED, WIDTH, new_figure, plain, save, soften

# With more classes there is no room for the name and the number of each.
MOST_NAMED_CLASSES = 20
LISTED_CLASSES = 8
MOST_MARKED_EPOCHS = 40


def draw_curves(path: str, title: str, epochs: Sequence[Mapping[str, float]], best_epoch: int) -> None:
    """Draws loss and accuracy by epoch, in training and validation, with the best epoch marked.

    `epochs` holds at least one entry, in order, with the tracked names `epoch`, `train/loss`, `val/loss`,
    `train/accuracy` and `val/accuracy` (accuracies from 0 to 1); `best_epoch` is the `epoch` of one of them.
    """
    figure = new_figure(title)
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
        soften(axes)
    panels[1][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.925), ncol=3, frameon=False)
    save(figure, path)


def draw_class_accuracy(path: str, title: str, class_names: Sequence[str], accuracies: Sequence[float | None]) -> None:
    """Draws a bar for each class's accuracy (0 to 1; None for a class without images), and their mean as a line.

    Beyond 20 classes the bars are sorted and thin, and the best and the worst are listed beside them.
    """
    figure = new_figure(title)
    if len(class_names) <= MOST_NAMED_CLASSES:
        _draw_named_bars(figure, class_names, accuracies)
    else:
        _draw_sorted_bars(figure, class_names, accuracies)
    save(figure, path)


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
        # Behind the bars, so that the line does not cross out a number.
        axes.axvline(mean, color=RED, linestyle="--", zorder=0)
        axes.text(mean, 1.01, f"mean {mean:.1%}", color=RED, ha="center", transform=axes.get_xaxis_transform())
    axes.set(xlim=(0, 1), ylim=(len(class_names) - 0.4, -0.6), xlabel="accuracy within the class")
    axes.set_yticks(rows, [plain(name, 28) for name in class_names], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    soften(axes)
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
    soften(axes)
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
    names = "\n".join(plain(name, 30) for _, name in classes)
    values = "\n".join(f"{accuracy:.1%}" for accuracy, _ in classes)
    figure.text(0.67, top - 0.04, names, va="top", fontsize=9, linespacing=1.4)
    figure.text(0.97, top - 0.04, values, va="top", ha="right", fontsize=9, linespacing=1.4)


def draw_confusion_matrix(path: str, title: str, class_names: Sequence[str], confusion: NDArray[np.int64]) -> None:
    """Draws the confusion matrix (num_classes, num_classes): rows are true classes, columns are predicted ones.

    A cell is coloured by its share of the row. With up to 20 classes, the cells also show their counts. The line under
    the title names the largest confusion.
    """
    figure = new_figure(title)
    figure.text(0.5, 0.905, largest_confusion(class_names, confusion), ha="center", color=DARK, fontsize=10)
    side, bottom = 380, 0.195
    axes = figure.add_axes((0.27, bottom, side / WIDTH, side / HEIGHT))
    totals = confusion.sum(axis=1, keepdims=True)
    # A true class without images has no shares, and no colour.
    shares = np.divide(confusion, totals, out=np.full(confusion.shape, np.nan), where=totals > 0)
    # Coloured by the square root of the share: on a linear scale the confusions, a few per cent each, would look white.
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
    save(figure, path)


def _name_cells(
    axes: Axes, class_names: Sequence[str], confusion: NDArray[np.int64], shares: NDArray[np.float64]
) -> None:
    """Writes the names of the classes beside the matrix, and the counts except zeros into its cells."""
    count = len(class_names)
    names = [plain(name, 22) for name in class_names]
    axes.set_yticks(range(count), names, fontsize=8.5)
    # Cut shorter, since slanted names must leave room for the axis label under them.
    axes.set_xticks(range(count), [plain(name, 14) for name in class_names], fontsize=8.5)
    if max(map(len, names)) > 3:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    # A digit is about 0.65 of the font size wide; 72 points are DPI pixels.
    cell, digits = axes.bbox.width / count, max(len(str(confusion.max())), 2)
    size = min(10.0, 0.9 * cell / (0.65 * digits) * 72 / DPI)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        # The colour scale is a square root: a share of a quarter is already halfway along it.
        color = "white" if shares[row, column] > 0.25 else DARK
        axes.text(column, row, str(confusion[row, column]), color=color, ha="center", va="center", fontsize=size)


def largest_confusion(class_names: Sequence[str], confusion: NDArray[np.int64]) -> str:
    """Describes the confusion with the most images; of equal ones, that with the largest share of its true class."""
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
    names = plain(class_names[true], 30), plain(class_names[predicted], 30)
    return f"most often: {names[0]} taken for {names[1]} ({count} of {total}, {count / total:.1%})"
