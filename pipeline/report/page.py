"""A sweep's result as one HTML file: figures inside, no scripts, no network; made to be sent to somebody."""

import base64
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report.accuracy_texts import points_text, spread_text

TEMPLATE = "page.html.jinja"
SHOWN_ROWS = 20
"""Trials of the leaderboard; the rest is folded."""
ENDS = {
    "finished": "ran to the full length",
    "asha": "stopped by ASHA",
    "diverged": "diverged",
    "interrupted": "interrupted",
    "failed": "failed",
}
MISSING = "-"


def render_report(summary: Mapping[str, Any], figures: Mapping[str, Path]) -> str:
    """The page.

    Args:
        summary: what `pipeline.report.summary.summarise` gives: accuracies are fractions, times are seconds.
        figures: PNG files by name: any of `graph`, `ladder`, `importance`, `leaderboard`.

    Raises:
        jinja2.UndefinedError: `summary` lacks what the page reads.
        OSError: a figure cannot be read.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "points": _points, "duration": _duration, "spread": _spread}
    images = {name: _data_uri(path) for name, path in figures.items()}
    ended = Counter(row["ended"] for row in summary["leaderboard"])
    ends = [f"{ended[outcome]} {words}" for outcome, words in ENDS.items() if ended[outcome]]
    template = environment.get_template(TEMPLATE)
    return template.render(summary, images=images, ends=ends, shown_rows=SHOWN_ROWS, missing=MISSING)


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _percent(fraction: float | None) -> str:
    return MISSING if fraction is None else f"{fraction:.2%}"


def _points(difference: float | None) -> str:
    return MISSING if difference is None else points_text(difference)


def _spread(mean: float | None, deviation: float | None) -> str:
    return MISSING if mean is None else spread_text(mean, deviation)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
