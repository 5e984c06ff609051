"""A trial's epochs and times as they were recorded."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class RecordedEpoch:
    number: int
    accuracy: float
    """Fraction, of the validation images."""
    images_per_second: float
    """That it trained on."""
    seconds: float
    """Training and validation."""
    training_seconds: float
    ended: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class RecordedTrial:
    index: int
    started: float
    """When it was handed to a process: seconds since 1970."""
    ended: float
    epochs: tuple[RecordedEpoch, ...]
    """In order."""
    together: int = 1
    """How many trials were trained as one with it, itself included."""

    @property
    def images_per_second(self) -> float | None:
        """The median over its epochs; None where it has none."""
        return median(epoch.images_per_second for epoch in self.epochs) if self.epochs else None
