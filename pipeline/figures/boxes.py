"""A stage as a box in a drawing. A module of its own: a process that only draws imports it, and must start at once."""

from dataclasses import dataclass
from typing import Literal

StageOutcome = Literal["run", "cached"]
"""Where a stage's output comes from: computed now, or taken from an earlier run."""


# Fills pale enough for dark text; the strokes are Okabe and Ito's, told apart with every kind of colour vision.
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
    """A stage: its name, whose outputs it reads, and what came of it."""

    name: str
    inputs: tuple[str, ...]
    outcome: StageOutcome | None = None
    """None where nothing is known of it: the bare graph."""
    note: str = ""
    """A few words on the outcome, such as `42 s` or `from run 3f2a`."""

    @property
    def status(self) -> str:
        """Outcome and note, in a line; empty in the bare graph."""
        return ", ".join(filter(None, (self.outcome, self.note)))
