"""The outputs that the stages of a sweep pass to each other: small values that are stored as JSON.

Large data is not contained in them, but referred to. The classes have only fields: this module is not part of any
stage's code digest, so code that computes with the outputs has to be elsewhere.
"""

from dataclasses import dataclass

from pipeline.results.confirmation import ConfirmedModel, TestScore
from pipeline.trials.records import TrialResult
from vit.data.normalisation import Normalisation
from vit.training.precision import Precision


@dataclass(frozen=True)
class Prepared:
    """What the trainings need to know about the data besides the images."""

    normalisation: Normalisation
    precision: Precision
    """The precision of all trainings of the sweep, also when it resumes on another machine: otherwise their results
    could not be compared."""
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
    """The results of the confirmed models on the test images, on which each of their runs is evaluated once."""

    scores: dict[str, TestScore]
    """The scores by the ID of the run that trained the model."""
    test_set_reads: int
    """How often these test images have been read by runs of this tracking store, including this time."""


@dataclass(frozen=True)
class Registered:
    """The winner's version in the registry."""

    version: int
    run_id: str
    """The run of the registered training: after the model is deleted, another version may get the same number."""
