"""What all figures have in common: a PNG of 900 x 550 pixels, one palette, one way to save.

Imports only matplotlib's object interface (and numpy with it) and keeps no global state, so that a side process can
start and draw quickly while trials keep every core busy. For the same reason the layout is set by hand: matplotlib's
own layout engines draw a figure two or three times.
"""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 100
WIDTH, HEIGHT = 900, 550
"""Pixels."""


# Okabe and Ito's palette, whose colours can be told apart with every kind of colour vision. The markers repeat what the
# colours say.
BLUE, GREEN, ORANGE, RED, PINK, SKY = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#56B4E9"
GREY, DARK = "#999999", "#333333"


def new_figure(title: str) -> Figure:
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    figure.text(0.5, 0.975, plain(title, 100), ha="center", va="top", fontsize=12, fontweight="bold")
    return figure


def save(figure: Figure, path: str) -> None:
    # Level 1 takes less time than the default level, for a few more kilobytes.
    FigureCanvasAgg(figure).print_png(path, pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]


def soften(axes: Axes) -> None:
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plain(text: str, length: int) -> str:
    """Returns a text as one line of at most `length` shown characters, in which a dollar sign starts no formula."""
    line = " ".join(text.split())
    if len(line) > length:
        line = line[: length - 1].rstrip() + "…"
    return line.replace("$", r"\$")
