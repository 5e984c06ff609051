"""Builds the script that shows the charts: Vega, Vega-Lite and Vega-Embed, with nothing left to download."""

import json
from functools import cache

import altair as alt
import vl_convert

from pipeline.charts.style import Spec

_SHOW = """
for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  vegaEmbed(place, spec, {renderer: "svg", actions: false, ast: true, tooltip: {theme: "custom"}});
}
"""
"""Charts are SVG, which can use the page's CSS variables and prints sharply. `ast` makes Vega interpret its expressions
instead of running them as code."""


@cache
def viewer_script() -> str:
    """Returns the whole script, about 0.9 MB; it belongs at the end of a page, and shows the charts of that page.

    The element in which a chart is shown has a `data-chart` attribute with the id of the element that holds the chart's
    specification (`embedded_spec`).
    """
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    # Within a page, `</script` would end the script.
    return vl_convert.javascript_bundle(_SHOW, version).replace("</script", r"<\/script")


def embedded_spec(spec: Spec) -> str:
    """Returns the specification as JSON that is safe within a `script` element, whatever names it contains."""
    return json.dumps(spec, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")
