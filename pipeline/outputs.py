"""What the stages of a sweep give each other."""

from dataclasses import dataclass

from pipeline.evaluation import TestResult
from pipeline.ranking import TrialRecord
from vit.augment import Normalisation
from vit.precision import Precision


@dataclass(frozen=True)
class Prepared:
    """What the trials need to know of the data besides the images."""

    normalisation: Normalisation
    duplicates: int
    """Test images whose exact pixels also stand in train or validation."""


@dataclass(frozen=True)
class Searched:
    """The trials, best first; at least one has completed an epoch."""

    ranked: list[TrialRecord]
    precision: Precision

    @property
    def winner(self) -> TrialRecord:
        return self.ranked[0]

    @property
    def baseline(self) -> TrialRecord | None:
        """The published configuration, trial 0, if it came to anything."""
        return next((trial for trial in self.ranked if trial.index == 0 and trial.epochs), None)


@dataclass(frozen=True)
class Evaluated:
    """The winner and the baseline on the test images; the same result where the baseline won."""

    winner: TestResult
    baseline: TestResult | None
