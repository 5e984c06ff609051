"""What full-length trainings with several seeds say of a model. Pure functions; they choose by validation only."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from pipeline.trials.records import BestEpoch, TrialRecord
from tune_spaces.trial_spec import TrialSpec
from vit.model.vision_transformer import count_parameters


@dataclass(frozen=True)
class FullLengthRun:
    """One training of a model to its full length."""

    seed: int
    best: BestEpoch
    run_id: str
    """Its run in MLflow, which has the weights as well."""
    folder: str
    """Path or URI under which its trial's folder with the weights is."""
    weights_digest: str
    """Of the weights with which it ended (`pipeline.tracking.weights`)."""

    @staticmethod
    def of(record: TrialRecord, seed: int, run_id: str, folder: str) -> "FullLengthRun":
        """From the record of a training that has finished."""
        best, digest = record.best, record.weights_digest
        assert best is not None and digest is not None  # what has finished has both
        kept = BestEpoch(best.number, best.accuracy, best.loss)
        return FullLengthRun(seed, kept, run_id, folder, digest)


@dataclass(frozen=True)
class ConfirmedModel:
    """A configuration, trained once with each of several seeds."""

    spec: TrialSpec
    search_accuracy: float | None
    """The validation accuracy by which the search found it; None for one that no search has seen."""
    runs: tuple[FullLengthRun, ...]
    """In the order of the seeds, which are the same for all models."""
    error: str | None = None
    """Why a seed has no run; such a model cannot win."""
    has_failed: bool = False
    """Whether that was for a reason outside of the training, as when its process dies: then it may be tried again."""

    @property
    def index(self) -> int:
        return self.spec.index

    @property
    def is_published(self) -> bool:
        """Trial 0 of every sweep is the published configuration."""
        return self.spec.index == 0

    @property
    def val_accuracies(self) -> list[float]:
        """Fractions."""
        return [run.best.accuracy for run in self.runs]

    @property
    def shrinkage(self) -> float | None:
        """What is lost of the search's figure: the best of many is lucky, its repetition is not."""
        if self.search_accuracy is None or not self.runs:
            return None
        return self.search_accuracy - mean(self.val_accuracies)

    @property
    def best_run(self) -> FullLengthRun:
        """The run whose weights represent the model: highest validation accuracy, then lowest loss."""
        return max(self.runs, key=lambda run: (run.best.accuracy, -run.best.loss))


@dataclass(frozen=True)
class TestScore:
    """A model on the test images."""

    __test__ = False  # not a test of pytest's

    correct: int
    total: int
    class_accuracy: tuple[float | None, ...]
    """In the order of the class names; None for a class without test images."""
    tta_correct: int | None = None
    """With each image's mirror image (`--tta flip`); None where nobody asked."""

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def tta_accuracy(self) -> float | None:
        return None if self.tta_correct is None else self.tta_correct / self.total


def spread(values: list[float]) -> float | None:
    """The sample standard deviation; None for a single value, which has none."""
    return stdev(values) if len(values) > 1 else None


def ranked(models: list[ConfirmedModel]) -> list[ConfirmedModel]:
    """Best first: by mean validation accuracy, then by mean loss, then the smaller model, then the earlier trial.

    Models with a failed seed come last.
    """
    return sorted(models, key=_rank_key)


def winner_of(models: Sequence[ConfirmedModel]) -> ConfirmedModel:
    """The one to register, of models that are ranked."""
    return models[0]


def _rank_key(model: ConfirmedModel) -> tuple[bool, float, float, int, int]:
    if model.error is not None or not model.runs:
        return (True, 0.0, 0.0, count_parameters(model.spec.model), model.index)
    loss = mean(run.best.loss for run in model.runs)
    return (False, -mean(model.val_accuracies), loss, count_parameters(model.spec.model), model.index)
