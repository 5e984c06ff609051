"""What a trial came to, in full and in short."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.trials.rungs import Decision
from tune_spaces.trial_spec import TrialSpec
from vit.model.vision_transformer import count_parameters

Outcome = Literal["finished", "asha", "diverged", "budget", "interrupted", "failed"]
"""How a trial ended; by the budget: it still ran when the search's share of the time was over."""
RESUMABLE: tuple[Outcome, ...] = ("budget", "interrupted")
"""Outcomes after which a later command goes on with the trial; all others are for good."""
FULL_LENGTH_RESUMABLE: tuple[Outcome, ...] = (*RESUMABLE, "failed")
"""The same of a training that no search judges: where it failed, the next command tries again from its last epoch."""
UNSOUND: tuple[Outcome, ...] = ("diverged", "failed")
"""Outcomes that training again would most likely repeat."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a trial, as reported: `number` from 1, metrics by their tracked names."""

    number: int
    metrics: dict[str, float]
    at: int | None = None
    """When it ended, in ms since 1970; None where that is not known."""

    @staticmethod
    def of(entry: dict[str, Any]) -> "EpochRecord":
        """From an entry of a trial's history."""
        return EpochRecord(entry["epoch"], entry["metrics"], entry["at"])

    @property
    def accuracy(self) -> float:
        return self.metrics["val/accuracy"]

    @property
    def loss(self) -> float:
        return self.metrics["val/loss"]


class _WithSpec:
    """What follows from a trial's configuration and its end, however much else is known of it."""

    spec: TrialSpec
    outcome: Outcome

    @property
    def index(self) -> int:
        return self.spec.index

    @property
    def is_sound(self) -> bool:
        """Whether it may be trained anew: it neither diverged nor failed."""
        return self.outcome not in UNSOUND

    @property
    def num_parameters(self) -> int:
        return count_parameters(self.spec.model)


@dataclass(frozen=True)
class TrialRecord(_WithSpec):
    """What a trial came to."""

    spec: TrialSpec
    outcome: Outcome
    epochs: tuple[EpochRecord, ...]
    error: str | None = None
    decisions: tuple[Decision, ...] = ()
    """ASHA's, lowest rung first."""
    weights_digest: str | None = None
    """Of the weights with which a training to its full length ended; None for the others."""

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose weights count: highest validation accuracy, the earliest of equals."""
        return max(self.epochs, key=lambda epoch: epoch.accuracy, default=None)

    @property
    def seconds(self) -> float:
        """Pure training and validation time of all its epochs."""
        return sum(epoch.metrics["epoch_seconds"] for epoch in self.epochs)


@dataclass(frozen=True)
class BestEpoch:
    """The epoch of a trial whose weights count, in short."""

    number: int
    accuracy: float
    """Fraction, of the validation images."""
    loss: float


@dataclass(frozen=True)
class TrialResult(_WithSpec):
    """What a trial came to, in short: small enough to be in a stage's output."""

    spec: TrialSpec
    outcome: Outcome
    best: BestEpoch | None
    """None where it completed no epoch."""
    epochs_run: int
    seconds: float
    """Pure training and validation time of all its epochs."""
    decisions: tuple[Decision, ...]
    """ASHA's, lowest rung first."""
    run_id: str
    """Its run in MLflow."""
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
