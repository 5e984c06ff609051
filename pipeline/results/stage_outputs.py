"""What the stages of a sweep give each other: small, and kept as JSON; what is big is referred to."""

from dataclasses import dataclass

from pipeline.results.confirmation import ConfirmedModel
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
    """Test images whose exact pixels also stand in train or validation."""
    validation_duplicates: int
    """Validation images whose exact pixels also stand in train."""


@dataclass(frozen=True)
class Searched:
    """The trials, best first; at least one has completed an epoch."""

    ranked: tuple[TrialResult, ...]
    precision: Precision


@dataclass(frozen=True)
class Confirmed:
    """The finalists and the published configuration at full length, best first."""

    models: tuple[ConfirmedModel, ...]

    @property
    def winner(self) -> ConfirmedModel:
        return self.models[0]

    @property
    def published(self) -> ConfirmedModel:
        return next(model for model in self.models if model.is_published)


@dataclass(frozen=True)
class TestScore:
    """A model on the test images."""

    __test__ = False  # not a test of pytest's

    run_id: str
    """The run that trained it."""
    correct: int
    total: int
    loss: float
    class_accuracy: tuple[float | None, ...]
    """In the order of the class names; None for a class without test images."""

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


@dataclass(frozen=True)
class Evaluated:
    """The confirmed models on the test images, each run once."""

    scores: dict[str, TestScore]
    """By the run that trained the model."""
    test_set_reads: int
    """How often these test images have been read in this tracking store, this time included."""
