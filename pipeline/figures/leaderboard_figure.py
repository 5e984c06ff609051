"""Draws accuracy against model size, with a mark for each trial."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from pipeline.figures.canvas import BLUE, DARK, GREEN, ORANGE, PINK, RED, SKY, new_figure, plain, save, soften

OUTCOME_STYLES = {
    "finished": (BLUE, "o"),
    "asha": (ORANGE, "v"),
    "diverged": (RED, "X"),
    "budget": (SKY, "D"),
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
    """Draws validation accuracy (0 to 1; None where no epoch was completed) against model size, a mark for each trial.

    The trials are given best first, and the first with an accuracy is labelled as the best: a later one may have a
    higher accuracy, but have diverged. The outcomes are keys of `OUTCOME_STYLES`.
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
    # Leaves room above for the label of the best trial.
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
    """Rings the best trial and the baseline, and labels the best above all marks and the baseline to their right."""
    winner = int(np.flatnonzero(np.isfinite(scores))[0])
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


def _abbreviate(count: float) -> str:
    """Returns a count in short: 2690000 as `2.69M`."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.3g}"
