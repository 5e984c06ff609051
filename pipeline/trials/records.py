"""The result of a trial, as a full record and in a short form."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.trials.rungs import Decision
from tune_spaces.trial_spec import TrialSpec
from vit.model.vision_transformer import count_parameters

Outcome = Literal["finished", "asha", "diverged", "budget", "interrupted", "failed"]
"""How a trial ended; "budget" if it was still running when the search's share of the budget's time was over."""
RESUMABLE: tuple[Outcome, ...] = ("budget", "interrupted")
"""Outcomes after which a later command resumes the trial; all others are final."""
FULL_LENGTH_RESUMABLE: tuple[Outcome, ...] = (*RESUMABLE, "failed")
"""The same for a training outside of a search: if it failed, the next command retries it from its last epoch."""
UNSOUND: tuple[Outcome, ...] = ("diverged", "failed")
"""Outcomes that a retraining would most likely have again."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a trial, as reported: `number` from 1, metrics by their tracked names."""

    number: int
    metrics: dict[str, float]
    at: int | None = None
    """When it ended, in ms since 1970; None if that is not known."""

    @staticmethod
    def of(entry: dict[str, Any]) -> "EpochRecord":
        """Builds a record from an entry of a trial's history."""
        return EpochRecord(entry["epoch"], entry["metrics"], entry["at"])

    @property
    def accuracy(self) -> float:
        return self.metrics["val/accuracy"]

    @property
    def loss(self) -> float:
        return self.metrics["val/loss"]


class _WithSpec:
    """Properties that follow from a trial's spec and outcome, shared by the full and the short form of its result."""

    spec: TrialSpec
    outcome: Outcome

    @property
    def index(self) -> int:
        return self.spec.index

    @property
    def is_sound(self) -> bool:
        """Whether it may be retrained, because it neither diverged nor failed."""
        return self.outcome not in UNSOUND

    @property
    def num_parameters(self) -> int:
        return count_parameters(self.spec.model)


@dataclass(frozen=True)
class TrialRecord(_WithSpec):
    """The result of a trial, with all of its epochs."""

    spec: TrialSpec
    outcome: Outcome
    epochs: tuple[EpochRecord, ...]
    error: str | None = None
    decisions: tuple[Decision, ...] = ()
    """ASHA's decisions, lowest rung first."""
    weights_digest: str | None = None
    """The digest of the weights with which a full-length training ended; None for other trainings."""

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose weights are kept: that of the highest validation accuracy, the earliest of equals."""
        return max(self.epochs, key=lambda epoch: epoch.accuracy, default=None)

    @property
    def seconds(self) -> float:
        """Pure training and validation time of all its epochs."""
        return sum(epoch.metrics["epoch_seconds"] for epoch in self.epochs)


@dataclass(frozen=True)
class BestEpoch:
    """The epoch of a trial whose weights are kept, in a short form."""

    number: int
    accuracy: float
    """A fraction, on the validation images."""
    loss: float


@dataclass(frozen=True)
class TrialResult(_WithSpec):
    """The result of a trial in a short form: small enough for a stage's output."""

    spec: TrialSpec
    outcome: Outcome
    best: BestEpoch | None
    """None if it completed no epoch."""
    epochs_run: int
    seconds: float
    """Pure training and validation time of all its epochs."""
    decisions: tuple[Decision, ...]
    """ASHA's decisions, lowest rung first."""
    run_id: str
    """The ID of its MLflow run."""
    error: str | None = None

    @staticmethod
    def of(record: TrialRecord, run_id: str) -> "TrialResult":
        best = record.best
        kept = None if best is None else BestEpoch(best.number, best.accuracy, best.loss)
        return TrialResult(
            record.spec,
            record.outcome,
            kept,
            len(record.epochs),
            record.seconds,
            record.decisions,
            run_id,
            record.error,
        )
