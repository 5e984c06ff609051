"""The script that shows the charts: Vega, Vega-Lite and Vega-Embed, with nothing to load from anywhere."""

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
"""SVG, which knows the page's colours and prints sharply; `ast`: Vega's expressions are read, never run as code."""


@cache
def viewer_script() -> str:
    """The whole script, about 0.9 MB; it shows the charts of the page that it stands in, at the page's end.

    A chart's place names, as `data-chart`, the element that holds its specification (`embedded_spec`).
    """
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    # Within a page, these letters would end the script.
    return vl_convert.javascript_bundle(_SHOW, version).replace("</script", r"<\/script")


def embedded_spec(spec: Spec) -> str:
    """The specification as JSON that may stand within a `script` element, whatever names are in it."""
    return json.dumps(spec, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")
