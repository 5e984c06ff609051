"""The epochs and times of a trial, as they were recorded."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class RecordedEpoch:
    number: int
    accuracy: float
    """As a fraction of the validation images."""
    images_per_second: float
    """The training images per second, validation not included."""
    seconds: float
    """The time for training and validation together."""
    training_seconds: float
    ended: float
    """When the epoch ended, in seconds since 1970."""


@dataclass(frozen=True)
class RecordedTrial:
    index: int
    started: float
    """When the trial was handed to a process, in seconds since 1970."""
    ended: float
    epochs: tuple[RecordedEpoch, ...]
    """In the order of their numbers."""
    together: int = 1
    """How many trials were fused with this one, itself included; 1 for a trial that was trained alone."""

    @property
    def images_per_second(self) -> float | None:
        """The median over the epochs; None for a trial without epochs."""
        return median(epoch.images_per_second for epoch in self.epochs) if self.epochs else None
