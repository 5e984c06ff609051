"""Charts of the classes: the accuracy of each, and which are mistaken for which."""

from collections.abc import Sequence

import altair as alt

from pipeline.charts.style import BLUE, GREEN, INK, ORANGE, PAPER, PERCENT, Spec, Values, finished, rows_of

_ROW = 13
"""The height of a bar in pixels."""


def class_accuracies(rows: Values, models: Sequence[str]) -> Spec:
    """Returns a chart with a bar for each class and model, and the confidence interval of its accuracy.

    Args:
        rows: one for each bar: `name` (the class), `model`, `accuracy`, `low`, `high` (fractions), `correct`, `total`.
        models: the names of the models, at most three, in the order of their bars.
    """
    classes = list(dict.fromkeys(row["name"] for row in rows))
    colors = alt.Scale(domain=list(models), range=[BLUE, GREEN, ORANGE][: len(models)])
    base = alt.Chart(rows_of(rows)).encode(
        y=alt.Y("name:N", sort=classes, title=None, axis=alt.Axis(grid=False), scale=alt.Scale(paddingInner=0.25)),
        yOffset=alt.YOffset("model:N", sort=list(models)),
        tooltip=[
            "name:N", "model:N", alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("low:Q", format=".1%"),
            alt.Tooltip("high:Q", format=".1%"), "correct:Q", "total:Q",
        ],
    )  # fmt: skip
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("accuracy:Q", title="accuracy within the class", axis=alt.Axis(format=PERCENT, tickCount=6), scale=scale)
    bars = base.mark_bar(opacity=0.85).encode(x=x, color=alt.Color("model:N", scale=colors, sort=list(models)))
    intervals = base.mark_rule(color=INK, strokeWidth=1.4).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    return finished(bars + intervals, len(classes) * (len(models) * _ROW + 6) + 10)


def confusion_matrix(cells: Values, classes: Sequence[str], with_counts: bool) -> Spec:
    """Returns a chart of true classes as rows and predicted ones as columns.

    The larger a cell's share of the true class, the stronger its colour.

    Args:
        cells: those with a count above 0: `true`, `predicted`, `count`, `share` (of the true class, a fraction).
        classes: the names of the classes, in the order in which they are shown.
        with_counts: whether the cells have room for their counts.
    """
    order = list(classes)
    slanted = -40 if max(map(len, order), default=0) > 3 else 0
    domain = alt.Scale(domain=order)
    base = alt.Chart(rows_of(cells)).encode(
        x=alt.X("predicted:N", title="predicted", scale=domain, axis=alt.Axis(grid=False, labelAngle=slanted)),
        y=alt.Y("true:N", title="true", scale=domain, axis=alt.Axis(grid=False)),
        tooltip=["true:N", "predicted:N", "count:Q", alt.Tooltip("share:Q", format=".1%", title="of the true class")],
    )  # fmt: skip
    # The square root of the share: on a linear scale the confusions, a few per cent each, would all look alike.
    strength = alt.Opacity("share:Q", scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0.02, 1]), legend=None)
    squares = base.mark_rect(color=BLUE).encode(opacity=strength)
    if not with_counts:
        return finished(squares, 420)
    ink = alt.when("datum.share > 0.3").then(alt.value(PAPER)).otherwise(alt.value(INK))
    counts = base.mark_text(fontSize=11).encode(text="count:Q", color=ink)
    return finished(squares + counts, max(200, 32 * len(order)))
