"""Charts of the hyperparameters: the trials as parallel coordinates, and how much each hyperparameter mattered."""

from collections.abc import Mapping

import altair as alt

from pipeline.charts.style import BLUE, PAPER, PERCENT, SOFT, Spec, Values, finished, rows_of

_VIRIDIS = (0.25, 0.95)
"""The part of the scale that stands out on white and on black; readable with every kind of colour vision."""


def parallel_coordinates(points: Values, ticks: Values, axes: list[str]) -> Spec:
    """Returns a chart with a line for each trial through the axes, coloured by its validation accuracy.

    A slider fades the trials below an accuracy; the trial under the pointer stands out.

    Args:
        points: one for each trial and axis: `trial`, `axis`, `at` (0, the bottom, to 1), `value` (as text), `accuracy`.
        ticks: one for each text beside an axis: `axis`, `at`, `text`.
        axes: the names of the axes, from left to right.
    """
    hover = alt.selection_point(name="hover", fields=["trial"], on="pointerover", nearest=True, empty=False)
    slider = alt.binding_range(min=0, max=1, step=0.01, name="validation accuracy at least ")
    least = alt.param(name="least", value=0, bind=slider)
    top = alt.Axis(orient="top", labelAngle=-24, labelLimit=0, domain=False, ticks=False, grid=False)
    x = alt.X("axis:N", sort=axes, title=None, axis=top)
    y = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.04, 1.04]))
    legend = alt.Legend(type="gradient", title=None, format=PERCENT, gradientLength=200)
    viridis = alt.Scale(scheme=alt.SchemeParams(name="viridis", extent=_VIRIDIS))
    # `stroke` and `fill` instead of `color` for both, for which Vega would draw a legend of dots.
    stroke, fill = alt.Stroke("accuracy:Q", scale=viridis, legend=legend), alt.Fill("accuracy:Q", scale=viridis)
    base = alt.Chart(rows_of(points)).encode(x=x, y=y, detail="trial:N")
    shown = alt.when(hover).then(alt.value(1)).when("datum.accuracy >= least").then(alt.value(0.75))
    strength = shown.otherwise(alt.value(0.07))
    width = alt.when(hover).then(alt.value(4)).otherwise(alt.value(1.6))
    tooltip = ["trial:N", "axis:N", "value:N", alt.Tooltip("accuracy:Q", format=".2%", title="validation accuracy")]
    lines = base.mark_line().encode(opacity=strength, strokeWidth=width, stroke=stroke)
    marks = base.mark_circle(size=28).encode(opacity=strength, fill=fill.legend(None), tooltip=tooltip)
    rules = alt.Chart(rows_of([{"axis": name} for name in axes])).mark_rule(color=SOFT).encode(x=x)
    texts = alt.Chart(rows_of(ticks)).encode(x=x, y=y, text="text:N")
    # A border in the page's colour under each text keeps it readable where lines run behind it.
    border = texts.mark_text(align="left", dx=5, fontSize=11, stroke=PAPER, strokeWidth=3)
    return finished(
        rules + lines + marks.add_params(hover, least) + border + texts.mark_text(align="left", dx=5, fontSize=11), 340
    )


def importance_bars(shares: Mapping[str, float]) -> Spec:
    """Returns a chart with a bar for each hyperparameter's share of the importance (0 to 1)."""
    rows = [{"name": name, "share": share} for name, share in shares.items()]
    base = alt.Chart(rows_of(rows)).encode(
        x=alt.X("share:Q", title="share of the importance", axis=alt.Axis(format=PERCENT, tickCount=5)),
        y=alt.Y("name:N", sort=list(shares), title=None, axis=alt.Axis(grid=False)),
        tooltip=["name:N", alt.Tooltip("share:Q", format=".1%")],
    )
    bars = base.mark_bar(color=BLUE, height={"band": 0.7})
    numbers = base.mark_text(align="left", dx=4).encode(text=alt.Text("share:Q", format=".1%"))
    return finished(bars + numbers, max(60, 22 * len(rows)))
