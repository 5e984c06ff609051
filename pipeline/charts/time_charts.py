"""Charts of what the time of a search was spent on."""

from collections.abc import Sequence

import altair as alt

from pipeline.charts.style import BLUE, GREEN, LINE, ORANGE, PINK, Spec, Values, finished, rows_of

STARTING, TRAINING, VALIDATING, SAVING, NO_TRIAL = PHASES = (
    "starting", "training", "validating", "saving and reporting", "no trial",
)  # fmt: skip
"""What a slot can be doing; in the last of these, no trial is in the slot."""
_COLORS = (ORANGE, BLUE, GREEN, PINK, LINE)
_COLOR = alt.Color("phase:N", scale=alt.Scale(domain=list(PHASES), range=list(_COLORS)))


def time_totals(rows: Values) -> Spec:
    """Returns a chart of the time of all slots together, as a single bar divided into phases.

    Args:
        rows: one for each phase: `phase`, `seconds`, `share` (a fraction), `order`.
    """
    chart = alt.Chart(rows_of(rows)).mark_bar(height=34).encode(
        x=alt.X("seconds:Q", title="seconds, of all slots together", stack="zero", scale=alt.Scale(nice=False)),
        color=_COLOR,
        order="order:Q",
        tooltip=["phase:N", alt.Tooltip("seconds:Q", format=".1f"), alt.Tooltip("share:Q", format=".1%")],
    )  # fmt: skip
    return finished(chart, 44)


def timeline(segments: Values, lanes: Sequence[str]) -> Spec:
    """Returns a chart of what each slot did at which time.

    Args:
        segments: one for each bar: `lane`, `trial`, `phase`, `begin`, `end` (seconds since the search began).
        lanes: the names of the lanes, one for each slot, from the top.
    """
    chart = alt.Chart(rows_of(segments)).mark_bar(height={"band": 0.8}).encode(
        x=alt.X("begin:Q", title="seconds since the search began", scale=alt.Scale(nice=False)),
        x2="end:Q",
        y=alt.Y("lane:N", sort=list(lanes), title=None, axis=alt.Axis(grid=False)),
        color=_COLOR,
        tooltip=["trial:N", "phase:N", alt.Tooltip("begin:Q", format=".1f"), alt.Tooltip("end:Q", format=".1f")],
    )  # fmt: skip
    return finished(chart, max(50, 26 * len(lanes)))
