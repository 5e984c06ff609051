"""What all charts have in common: colours, fonts, and how a chart becomes a specification."""

from typing import Any

import altair as alt

INK, SOFT, LINE, PAPER = "var(--ink)", "var(--soft)", "var(--line)", "var(--paper)"
BLUE, GREEN, ORANGE, RED, PINK = "var(--blue)", "var(--green)", "var(--orange)", "var(--red)", "var(--pink)"
"""CSS variables of the page: Okabe and Ito's palette, which can be told apart with every kind of colour vision."""
PERCENT = ".0%"

Spec = dict[str, Any]
"""A Vega-Lite specification, ready for JSON."""
Values = list[dict[str, Any]]
"""The rows that a chart draws."""

_TEXT = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": "transparent"},
    "axis": {**_TEXT, "gridColor": LINE, "domainColor": SOFT, "tickColor": SOFT, "labelLimit": 110},
    "legend": {**_TEXT, "orient": "top", "title": None, "columns": 3, "labelLimit": 200, "symbolStrokeWidth": 2},
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": INK},
}


def rows_of(values: Values) -> alt.Data:
    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def finished(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int) -> Spec:
    """Returns the specification of a chart that is as wide as its place on the page and `height` pixels high.

    Raises:
        altair.utils.schemapi.SchemaValidationError: the chart is not valid Vega-Lite.
    """
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    datasets: dict[str, Values] = {}
    for part in (spec, *spec.get("layer", ())):
        if "data" in part:
            part["data"] = {"name": _name_of(part["data"]["values"], datasets)}
    # Replaces Altair's own configuration, which would set a fixed size for a chart that has none.
    return {**spec, "config": _CONFIG, "datasets": datasets}


def _name_of(values: Values, datasets: dict[str, Values]) -> str:
    """Returns the name of these rows in `datasets`, to which they are added once, however many layers draw them."""
    name = next((name for name, known in datasets.items() if known == values), f"rows-{len(datasets) + 1}")
    datasets[name] = values
    return name
