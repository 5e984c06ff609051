"""The gate's verdict on a challenger: the rules with their numbers, as JSON with a digest, and as Markdown."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.promote.gate_config import GateConfig
from pipeline.promote.rules import RuleResult
from pipeline.promote.scoring import Score
from pipeline.promote.test_images import TestImages
from pipeline.statistics.intervals import accuracy_interval

JSON_FILE, MARKDOWN_FILE = "verdict.json", "verdict.md"


@dataclass(frozen=True)
class Verdict:
    """The verdict of one run of the gate, with everything that it is based on."""

    model: str
    at: str
    """UTC, ISO 8601."""
    challenger: Score
    champion: Score | None
    test: TestImages
    test_set_reads: int
    """How often these images have been read in this tracking store, including this time."""
    config: GateConfig
    rules: tuple[RuleResult, ...]

    @property
    def failed(self) -> list[RuleResult]:
        return [rule for rule in self.rules if rule.outcome == "fail"]

    @property
    def passes(self) -> bool:
        return not self.failed

    @property
    def reason(self) -> str:
        """One line that says which rules failed, or why the challenger may be champion."""
        if not self.passes:
            return "; ".join(f"{rule.rule}: {rule.found} (must be {rule.limit})" for rule in self.failed)
        name = "guessing" if self.champion is None else "accuracy"
        found = next(rule.found for rule in self.rules if rule.rule == name)
        return f"first champion, {found}" if self.champion is None else found

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the gate's MLflow run, by name."""
        scores = {"challenger": self.challenger, "champion": self.champion}
        return {
            f"gate/{who}/{name}": value
            for who, score in scores.items()
            if score is not None
            for name, value in _figures(score).items()
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "at": self.at,
            "passes": self.passes,
            "reason": self.reason,
            "challenger": _about(self.challenger),
            "champion": None if self.champion is None else _about(self.champion),
            "test": {
                "digest": self.test.digest,
                "source": self.test.source,
                "images": self.challenger.images,
                "reads": self.test_set_reads,
            },
            "config": asdict(self.config),
            "rules": [asdict(rule) for rule in self.rules],
        }

    def write(self, folder: Path) -> str:
        """Writes the JSON and the Markdown file into `folder`; returns `sha256:<hex>` of the JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        content = (json.dumps(self.to_dict(), indent=2) + "\n").encode()
        (folder / JSON_FILE).write_bytes(content)
        (folder / MARKDOWN_FILE).write_text(self.to_markdown(), encoding="utf-8")
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def to_markdown(self) -> str:
        rows = [f"| {rule.rule} | {rule.outcome} | {_cell(rule.found)} | {_cell(rule.limit)} |" for rule in self.rules]
        return "\n".join(
            [f"# {self.title}", "", self.about_test, "", "| rule | | found | limit |", "|---|---|---|---|", *rows, ""]
        )

    @property
    def title(self) -> str:
        against = "" if self.champion is None else f" against the champion, version {self.champion.version}"
        said = "passes" if self.passes else "is refused"
        return f"{self.model} version {self.challenger.version}{against} {said}"

    @property
    def about_test(self) -> str:
        return (
            f"{self.challenger.images} test images of {self.test.source}; reads of them so far in this tracking store:"
            f" {self.test_set_reads}"
        )


def _about(score: Score) -> dict[str, Any]:
    interval = accuracy_interval(score.correct, score.images)
    return {
        "version": score.version,
        "files": score.files,
        "correct": score.correct,
        "accuracy_interval": [interval.low, interval.high],
        **_figures(score),
    }


def _figures(score: Score) -> dict[str, float]:
    latencies = {
        f"latency_ms/batch_{batch}/{quantile}": value
        for batch, latency in score.latencies.items()
        for quantile, value in (("p50", latency.p50), ("p95", latency.p95))
    }
    return {
        "accuracy": score.accuracy,
        "calibration_error": score.calibration_error,
        "parameters": score.parameters,
        "bytes": score.size,
        **latencies,
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
