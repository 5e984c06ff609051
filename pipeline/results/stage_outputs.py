"""What the stages of a sweep give each other: small, and kept as JSON; what is big is referred to.

Fields only: these classes are in no stage's digest of its code, so what reckons with them stands elsewhere.
"""

from dataclasses import dataclass

from pipeline.results.confirmation import ConfirmedModel, TestScore
from pipeline.trials.records import TrialResult
from vit.data.normalisation import Normalisation
from vit.training.precision import Precision


@dataclass(frozen=True)
class Prepared:
    """What the trials need to know of the data besides the images."""

    normalisation: Normalisation
    precision: Precision
    """Of all that the sweep trains, on whichever machine it goes on: else its trainings would not compare."""
    duplicates: int
    """Test images whose exact pixels are also in train or validation."""
    validation_duplicates: int
    """Validation images whose exact pixels are also in train."""


@dataclass(frozen=True)
class Searched:
    """The trials, best first; at least one has completed an epoch."""

    ranked: tuple[TrialResult, ...]
    precision: Precision


@dataclass(frozen=True)
class Confirmed:
    """The finalists and the published configuration at full length, best first."""

    models: tuple[ConfirmedModel, ...]


@dataclass(frozen=True)
class Evaluated:
    """The confirmed models on the test images, each run once."""

    scores: dict[str, TestScore]
    """By the run that trained the model."""
    test_set_reads: int
    """How often these test images have been read in this tracking store, this time included."""


@dataclass(frozen=True)
class Registered:
    """The winner's version in the registry."""

    version: int
    run_id: str
    """Of the training that was registered: once the model was deleted, another's version may have the same number."""
