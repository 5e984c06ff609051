"""What the gate lets through."""

import math
from dataclasses import dataclass

from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """The limits of the gate's rules (`pipeline.promote.rules`). Margins are fractions: 0.05 is five points."""

    equivalence_margin: float = 0.005
    """Two models are the same where the whole interval of their difference in accuracy lies within this."""
    class_margin: float = 0.05
    """How much worse a class may be."""
    calibration_margin: float = 0.02
    """How much larger the expected calibration error may be."""
    max_latency_ratio: float = 1.5
    """Challenger to champion, for one image and for 32."""
    max_size_ratio: float = 4.0
    """Challenger to champion, of parameters and of bytes. A search draws models whose sizes differ thirtyfold."""
    robustness: bool = False
    """Whether both are also compared on spoiled images, which takes 15 times as long."""
    robustness_margin: float = 0.02
    """How much worse the mean accuracy on spoiled images may be."""

    def __post_init__(self) -> None:
        for name in ("equivalence_margin", "class_margin", "calibration_margin", "robustness_margin"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"{_flag(name)} is {getattr(self, name):g}, but must be from 0 to 1: 0.05 is five points"
                )
        for name in ("max_latency_ratio", "max_size_ratio"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{_flag(name)} is {getattr(self, name):g}, but must be above 0")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
