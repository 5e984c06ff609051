"""The limits that the gate's rules apply."""

import math
from dataclasses import dataclass

from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """The limits of the gate's rules (`pipeline.promote.rules`).

    Margins are fractions: 0.05 is five percentage points.
    """

    equivalence_margin: float = 0.005
    """Two models count as the same where the whole interval of their difference in accuracy lies within this of 0."""
    class_margin: float = 0.05
    """How much lower the accuracy on a single class may be."""
    calibration_margin: float = 0.02
    """How much larger the expected calibration error may be."""
    max_latency_ratio: float = 1.5
    """The highest allowed ratio of latencies, challenger to champion, for requests of one image and of 32."""
    max_size_ratio: float = 4.0
    """The highest allowed ratio, challenger to champion, of parameters and of bytes.

    A search draws models whose sizes differ by a factor of thirty.
    """
    robustness: bool = False
    """Whether both models are also compared on corrupted images, which takes 15 times as long."""
    robustness_margin: float = 0.02
    """How much lower the mean accuracy on corrupted images may be."""

    def __post_init__(self) -> None:
        for name in ("equivalence_margin", "class_margin", "calibration_margin", "robustness_margin"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"{_flag(name)} is {getattr(self, name):g}, but must be from 0 to 1: 0.05 is five points"
                )
        for name in ("max_latency_ratio", "max_size_ratio"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{_flag(name)} is {getattr(self, name):g}, but must be above 0 and finite")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
