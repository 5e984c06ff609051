"""Draws how much each hyperparameter mattered, as bars."""

from collections.abc import Mapping

from matplotlib.ticker import PercentFormatter

from pipeline.figures.canvas import BLUE, DARK, new_figure, plain, save, soften


def draw_importance(path: str, title: str, shares: Mapping[str, float], note: str) -> None:
    """Draws a bar for each hyperparameter's share (0 to 1), the largest on top, and writes `note` under the title."""
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
    # Leaves room for the number after the longest bar.
    axes.set_xlim(0, 1.12 * max([*shares.values(), 0.01]))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    soften(axes)
    axes.grid(visible=False, axis="y")
    save(figure, path)
