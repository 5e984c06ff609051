"""Charts with a mark or a line for each trial: learning curves, ASHA's ladder, accuracy against cost."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt

from pipeline.charts.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    PERCENT,
    RED,
    SOFT,
    Spec,
    Values,
    finished,
    rows_of,
)

Role = Literal["winner", "published", "full length", "stopped early"]
"""How the charts present a trial to the reader."""
_LABELLED_EPOCHS = 15
_COLORS: Mapping[Role, str] = {"winner": RED, "published": GREEN, "full length": BLUE, "stopped early": SOFT}
_STRENGTHS: Mapping[Role, float] = {"winner": 1.0, "published": 1.0, "full length": 0.75, "stopped early": 0.35}
_WIDTHS: Mapping[Role, float] = {"winner": 2.8, "published": 2.4, "full length": 1.6, "stopped early": 1.4}
_SHAPES: Mapping[Role, str] = {
    "winner": "diamond", "published": "square", "full length": "circle", "stopped early": "triangle-down",
}  # fmt: skip


def _scale(values: Mapping[Role, Any]) -> alt.Scale:
    return alt.Scale(domain=list(values), range=list(values.values()))


_COLOR = alt.Color("role:N", scale=_scale(_COLORS))
_ACCURACY = alt.Y("accuracy:Q", title="validation accuracy", axis=alt.Axis(format=PERCENT), scale=alt.Scale(zero=False))
_ACCURACY_TIP = alt.Tooltip("accuracy:Q", format=".2%", title="validation accuracy")


def learning_curves(points: Values) -> Spec:
    """Returns a chart of validation accuracy by epoch: a line for each trial; the trial under the pointer stands out.

    Args:
        points: one for each epoch of each trial: `trial`, `role`, `epoch`, `accuracy`.
    """
    hover = _trial_under_the_pointer()
    last = max((point["epoch"] for point in points), default=1)
    ticks = list(range(1, last + 1, -(-last // _LABELLED_EPOCHS)))
    epochs = alt.X("epoch:Q", axis=alt.Axis(format="d", values=ticks), title="epoch", scale=alt.Scale(nice=False))
    base = alt.Chart(_with_strength(points)).encode(
        x=epochs, y=_ACCURACY, detail="trial:N", color=_COLOR, opacity=_strength(hover)
    )
    lines = base.mark_line().encode(strokeWidth=alt.StrokeWidth("width:Q", scale=None))
    marks = base.mark_point(filled=True, size=24).encode(tooltip=["trial:N", "role:N", "epoch:Q", _ACCURACY_TIP])
    return finished(lines + marks.add_params(hover), 320)


def ladder(points: Values, rungs: Sequence[str]) -> Spec:
    """Returns a chart with a line for each trial through ASHA's rungs, and at each rung the cut-off that applied to it.

    Args:
        points: one for each decision, and for each end at full length: `trial`, `role`, `rung`, `x` (rungs counted from
            0, shifted a little by the order of arrival), `accuracy`, `cutoff` (None where there was none), `verdict`.
        rungs: the names of the rungs, with no quotation marks in them; the full length last.
    """
    hover = _trial_under_the_pointer()
    names = ",".join(f"'{name}'" for name in rungs)
    axis = alt.Axis(values=list(range(len(rungs))), labelExpr=f"[{names}][datum.value]", grid=False, title=None)
    x = alt.X("x:Q", axis=axis, scale=alt.Scale(domain=[-0.45, len(rungs) - 0.55], nice=False))
    base = alt.Chart(_with_strength(points)).encode(x=x, y=_ACCURACY, detail="trial:N", color=_COLOR)
    cutoff_tip = alt.Tooltip("cutoff:Q", format=".2%", title="cut-off")
    hollow = alt.when("datum.verdict !== 'went on'").then(alt.value(PAPER))
    marks = base.mark_point(size=46, strokeWidth=1.5).encode(
        fill=hollow.otherwise(alt.Fill("role:N", scale=_scale(_COLORS))),
        tooltip=["trial:N", "role:N", "rung:N", _ACCURACY_TIP, cutoff_tip, "verdict:N"],
    )
    cutoffs = (
        alt.Chart(rows_of([point for point in points if point["cutoff"] is not None]))
        .mark_tick(color=INK, thickness=2, size=12, orient="horizontal")
        .encode(x=x, y="cutoff:Q")
    )
    lines = base.mark_line(strokeWidth=1.5).encode(opacity=_strength(hover))
    return finished(lines + cutoffs + marks.add_params(hover), 340)


def accuracy_against(points: Values, title: str, more_is_better: bool) -> Spec:
    """Returns a chart of accuracy against a cost, with the Pareto front as a line.

    The front consists of the trials that no other trial beats in both.

    Args:
        points: one for each trial: `trial`, `role`, `accuracy`, `cost` (above 0), `front` (whether it is on the front).
        title: the name of the cost.
        more_is_better: whether a larger cost is better, as with images a second.
    """
    front = alt.Chart(rows_of([point for point in points if point["front"]]))
    cost = alt.X(
        "cost:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=16),
        axis=alt.Axis(format="~s", tickCount=4, labelOverlap="greedy", labelSeparation=8, grid=False),
    )  # fmt: skip
    steps = front.mark_line(color=ORANGE, interpolate="step-before" if more_is_better else "step-after")
    cost_tip, front_tip = (
        alt.Tooltip("cost:Q", format=".4~s", title=title),
        alt.Tooltip("front:N", title="on the front"),
    )
    marks = (
        alt.Chart(rows_of(points))
        .mark_point(filled=True, size=64, opacity=0.9)
        .encode(color=_COLOR, shape=alt.Shape("role:N", scale=_scale(_SHAPES)))
        .encode(tooltip=["trial:N", "role:N", _ACCURACY_TIP, cost_tip, front_tip])
    )
    layers = (steps, front.mark_point(size=190, color=ORANGE), marks)
    return finished(alt.layer(*(layer.encode(x=cost, y=_ACCURACY) for layer in layers)), 260)


def _trial_under_the_pointer() -> alt.Parameter:
    return alt.selection_point(name="hover", fields=["trial"], on="pointerover", nearest=True, empty=False)


def _strength(hover: alt.Parameter) -> Any:
    """Returns the opacity: the trial under the pointer is drawn in full, and trials that were stopped are faded."""
    return alt.when(hover).then(alt.value(1)).otherwise(alt.Opacity("strength:Q", scale=None))


def _with_strength(points: Values) -> alt.Data:
    """Returns the rows with their roles' opacity and width as numbers: scales for these would remove the legend."""
    return rows_of(
        [{**point, "strength": _STRENGTHS[point["role"]], "width": _WIDTHS[point["role"]]} for point in points]
    )
