"""From trial records to a leaderboard. Pure functions; selection sees validation figures only."""

from dataclasses import dataclass
from typing import Any, Literal

from tune_spaces.space import TrialSpec
from vit.model import count_parameters

Outcome = Literal["finished", "asha", "diverged", "interrupted", "failed"]
"""How a trial ended; all but the interrupted are over for good."""


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


@dataclass(frozen=True)
class TrialRecord:
    """What a trial came to."""

    spec: TrialSpec
    outcome: Outcome
    epochs: tuple[EpochRecord, ...]
    error: str | None = None

    @property
    def index(self) -> int:
        return self.spec.index

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose weights count: highest validation accuracy, the earliest of equals."""
        return max(self.epochs, key=lambda epoch: epoch.accuracy, default=None)

    @property
    def num_parameters(self) -> int:
        return count_parameters(self.spec.model)

    @property
    def seconds(self) -> float:
        """Pure training and validation time of all its epochs."""
        return sum(epoch.metrics["epoch_seconds"] for epoch in self.epochs)


def leaderboard(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Best first: by validation accuracy, then by loss, then the smaller model, then the earlier trial.

    Trials that completed no epoch come last.
    """
    return sorted(trials, key=_rank_key)


def _rank_key(trial: TrialRecord) -> tuple[bool, float, float, int, int]:
    best = trial.best
    if best is None:
        return (True, 0.0, 0.0, trial.num_parameters, trial.index)
    return (False, -best.accuracy, best.loss, trial.num_parameters, trial.index)


def epochs_share(trials: list[TrialRecord], max_epochs: int) -> float:
    """Epochs run, as a share of what the full grid would have run."""
    return sum(len(trial.epochs) for trial in trials) / (len(trials) * max_epochs)
