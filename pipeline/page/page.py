"""Renders a sweep's records as one HTML file that contains its charts, pictures and script, and so loads nothing."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.charts.viewer import embedded_spec, viewer_script
from pipeline.page.blocks import Block, NotRecordedError
from pipeline.page.class_sections import class_accuracy, confusions, mistakes
from pipeline.page.hyperparameter_sections import hyperparameters
from pipeline.page.result_sections import audit, confirmation, reproduction, verdict
from pipeline.page.run_sections import stages, time_spent
from pipeline.page.sweep_records import SweepRecords
from pipeline.page.trial_sections import costs, curves, leaderboard, stops

TEMPLATE = "page.html.jinja"
SECTIONS: Sequence[tuple[str, str, Callable[[SweepRecords], list[Block]]]] = (
    ("verdict", "The result", verdict),
    ("stages", "The stages", stages),
    ("leaderboard", "Leaderboard", leaderboard),
    ("confirm", "How the winner was confirmed", confirmation),
    ("curves", "Learning curves", curves),
    ("stops", "Why trials stopped", stops),
    ("hyperparameters", "Hyperparameters", hyperparameters),
    ("costs", "Accuracy against cost", costs),
    ("classes", "Accuracy by class", class_accuracy),
    ("confusions", "What is taken for what", confusions),
    ("mistakes", "The worst mistakes", mistakes),
    ("time", "Where the time went", time_spent),
    ("audit", "Did ASHA stop the right ones?", audit),
    ("reproduce", "How to reproduce this", reproduction),
)
"""The anchor, the title and the function of each section, in the order of the page."""


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    blocks: Sequence[Block]
    left_out: str | None
    """Why the section is empty; None if it is not."""


def sections_of(records: SweepRecords) -> list[Section]:
    """Builds all sections. A section that needs something that was not recorded says so in place of its content."""
    return list(_sections(records))


def _sections(records: SweepRecords) -> Iterator[Section]:
    for anchor, title, build in SECTIONS:
        try:
            yield Section(anchor, title, build(records), None)
        except NotRecordedError as reason:
            yield Section(anchor, title, [], str(reason))


def render_page(summary: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """Renders the page as HTML. The same records give the same page.

    Args:
        summary: the sweep's summary.
        sections: what `sections_of` built from the sweep's records.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["spec"] = embedded_spec
    script = viewer_script()
    template = environment.get_template(TEMPLATE)
    return template.render(
        summary=summary,
        sections=sections,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
