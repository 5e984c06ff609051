"""Ranks models by their full-length trainings with several seeds; pure functions that use validation results only."""

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
    """The ID of its MLflow run, which also holds the weights."""
    folder: str
    """Path or URI of the folder that contains the training's own folder, in which the weights are."""
    weights_digest: str
    """The digest of the weights with which it ended (`pipeline.tracking.weights`)."""

    @staticmethod
    def of(record: TrialRecord, seed: int, run_id: str, folder: str) -> "FullLengthRun":
        """Builds a run from the record of a finished training."""
        best, digest = record.best, record.weights_digest
        assert best is not None and digest is not None  # a finished training has both
        kept = BestEpoch(best.number, best.accuracy, best.loss)
        return FullLengthRun(seed, kept, run_id, folder, digest)


@dataclass(frozen=True)
class ConfirmedModel:
    """A configuration, trained once with each of several seeds."""

    spec: TrialSpec
    search_accuracy: float | None
    """The validation accuracy of its trial in the search; None if it has none."""
    runs: tuple[FullLengthRun, ...]
    """The finished trainings, in the order of the seeds, which are the same for all models."""
    error: str | None = None
    """Why the training with a seed did not finish; such a model cannot win."""
    has_failed: bool = False
    """Whether a training failed for a reason outside of it, such as a crash of its process: it may then be retried."""

    @property
    def index(self) -> int:
        return self.spec.index

    @property
    def is_published(self) -> bool:
        """Whether it is the published configuration, which is trial 0 of every sweep."""
        return self.spec.index == 0

    @property
    def val_accuracies(self) -> list[float]:
        """The validation accuracy of each run, a fraction."""
        return [run.best.accuracy for run in self.runs]

    @property
    def shrinkage(self) -> float | None:
        """How far the mean accuracy is below the search's: the best of many is lucky, its repetition is not."""
        if self.search_accuracy is None or not self.runs:
            return None
        return self.search_accuracy - mean(self.val_accuracies)

    @property
    def best_run(self) -> FullLengthRun:
        """The run whose weights represent the model: highest validation accuracy, then lowest loss."""
        return max(self.runs, key=lambda run: (run.best.accuracy, -run.best.loss))


@dataclass(frozen=True)
class TestScore:
    """The result of a trained model on the test images."""

    __test__ = False  # tells pytest that this is not a test

    correct: int
    total: int
    class_accuracy: tuple[float | None, ...]
    """In the order of the class names; None for a class without test images."""
    tta_correct: int | None = None
    """The number correct when each image is combined with its mirror image (`--tta flip`); None if not requested."""

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
    """The model to register, given ranked models."""
    return models[0]


def _rank_key(model: ConfirmedModel) -> tuple[bool, float, float, int, int]:
    if model.error is not None or not model.runs:
        return (True, 0.0, 0.0, count_parameters(model.spec.model), model.index)
    loss = mean(run.best.loss for run in model.runs)
    # Rounded, since equal means of other accuracies may differ in their last digit.
    return (False, -round(mean(model.val_accuracies), 12), loss, count_parameters(model.spec.model), model.index)
