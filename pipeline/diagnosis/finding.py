"""A finding of the diagnosis, and how it is mended and shown."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.errors import FAILED, PipelineError

Kind = Literal["ray", "run", "checkpoint", "leftover", "unfinished", "version", "group"]
State = Literal["open", "mended", "information"]
MOST_NAMES = 4
"""The most names in one line; programs find all of them in `details`."""


@dataclass(frozen=True)
class Finding:
    kind: Kind
    thing: str
    """The name of what was found."""
    problem: str
    advice: str
    """What to do; for a finding that has been mended, what was done."""
    state: State = "open"
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for programs."""
    mend: Callable[[], str] | None = None
    """Mends it and returns what was done; None if a person has to. Raises PipelineError if it must not be mended."""

    @property
    def line(self) -> str:
        advice = f"mended: {self.advice}" if self.state == "mended" else self.advice
        return " ".join(f"{self.kind}: {self.thing} {self.problem}: {advice}".split())

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("kind", "state", "thing", "problem", "advice")}
        return {**values, **self.details}


def mended(finding: Finding) -> Finding:
    """Tries to mend the finding, and returns it as it is afterwards."""
    if finding.mend is None or finding.state != "open":
        return finding
    try:
        return replace(finding, state="mended", advice=finding.mend())
    except (PipelineError, OSError) as error:
        return replace(finding, advice=f"it could not be mended: {error}")


def exit_status(findings: Sequence[Finding]) -> int:
    return FAILED if any(finding.state == "open" for finding in findings) else 0


def totals(findings: Sequence[Finding]) -> str:
    """The numbers of findings by kind and by state, in words."""
    if not findings:
        return "nothing was found"
    kinds = Counter(finding.kind for finding in findings)
    states = Counter(finding.state for finding in findings)
    by_kind = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    return (
        f"{len(findings)} found ({by_kind}): {states['mended']} mended, {states['open']} left to fix by hand, "
        f"{states['information']} for information"
    )


def first_names(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return ", ".join([*names[:MOST_NAMES], *([f"{more} more"] if more > 0 else [])])


def size_text(size: float) -> str:
    """A number of bytes as text: `1.5 GB`."""
    for unit, worth in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= worth:
            return f"{size / worth:.1f} {unit}"
    return f"{size:.0f} bytes"
