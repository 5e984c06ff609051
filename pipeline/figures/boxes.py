"""Defines a stage as a box in a drawing.

It is a module of its own because a process that only draws imports it, and has to start quickly.
"""

from dataclasses import dataclass
from typing import Literal

StageOutcome = Literal["run", "cached"]
"""Where a stage's output comes from: computed now, or taken from an earlier run."""


# The fills are pale enough for dark text; the strokes are Okabe and Ito's colours, which can be told apart with every
# kind of colour vision.
FILLS: dict[StageOutcome | None, str] = {
    "run": "#D3E8F5",
    "cached": "#D5EFE3",
    None: "#FFFFFF",
}
STROKES: dict[StageOutcome | None, str] = {
    "run": "#0072B2",
    "cached": "#009E73",
    None: "#333333",
}
INK = "#222222"


@dataclass(frozen=True)
class Box:
    """A stage: its name, the stages whose outputs it reads, and its outcome."""

    name: str
    inputs: tuple[str, ...]
    outcome: StageOutcome | None = None
    """None where it is not known, as in a drawing of the graph alone."""
    note: str = ""
    """A few words on the outcome, such as `42 s` or `from run 3f2a`."""

    @property
    def status(self) -> str:
        """Outcome and note in one line; empty in a drawing of the graph alone."""
        return ", ".join(filter(None, (self.outcome, self.note)))
