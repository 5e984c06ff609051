"""What the diagnosis finds, and mending it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.errors import FAILED, PipelineError

Kind = Literal["ray", "run", "checkpoint", "leftover", "unfinished", "version", "group"]
State = Literal["open", "mended", "information"]
MOST_NAMES = 4
"""In one line; a program finds them all in `details`."""


@dataclass(frozen=True)
class Finding:
    kind: Kind
    thing: str
    """Its name."""
    problem: str
    advice: str
    """What to do; once it is mended, what was done."""
    state: State = "open"
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for programs."""
    mend: Callable[[], str] | None = None
    """Mends it and says what was done; None where a person has to. Raises PipelineError where it must not be done."""

    @property
    def line(self) -> str:
        advice = f"mended: {self.advice}" if self.state == "mended" else self.advice
        return " ".join(f"{self.kind}: {self.thing} {self.problem}: {advice}".split())

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("kind", "state", "thing", "problem", "advice")}
        return {**values, **self.details}


def mended(finding: Finding) -> Finding:
    """The finding as it is after an attempt to mend it."""
    if finding.mend is None or finding.state != "open":
        return finding
    try:
        return replace(finding, state="mended", advice=finding.mend())
    except (PipelineError, OSError) as error:
        return replace(finding, advice=f"it could not be mended: {error}")


def exit_status(findings: Sequence[Finding]) -> int:
    return FAILED if any(finding.state == "open" for finding in findings) else 0


def totals(findings: Sequence[Finding]) -> str:
    """The findings by kind and by state, in words."""
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
    """The first names, and how many there are more."""
    more = len(names) - MOST_NAMES
    return ", ".join([*names[:MOST_NAMES], *([f"{more} more"] if more > 0 else [])])


def size_text(size: float) -> str:
    """So many bytes."""
    for unit, worth in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= worth:
            return f"{size / worth:.1f} {unit}"
    return f"{size:.0f} bytes"
