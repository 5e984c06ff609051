"""Ranks trials and chooses the finalists, by validation results only."""

from collections.abc import Sequence
from typing import TypeVar

from pipeline.trials.records import TrialRecord, TrialResult

Trial = TypeVar("Trial", TrialRecord, TrialResult)


def leaderboard(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Sorts trials, best first: by validation accuracy, then by loss, then the smaller model, then the earlier trial.

    Trials that diverged or failed come after all others, however good they were before, and those that completed no
    epoch come last.
    """
    return sorted(trials, key=_rank_key)


def _rank_key(trial: TrialRecord) -> tuple[int, float, float, int, int]:
    best = trial.best
    if best is None:
        return (2, 0.0, 0.0, trial.num_parameters, trial.index)
    return (int(not trial.is_sound), -best.accuracy, best.loss, trial.num_parameters, trial.index)


def choose_finalists(trials: Sequence[Trial], count: int) -> list[Trial]:
    """The best of the trials that may be retrained; the published configuration is confirmed anyway, and is not chosen.

    A trial that diverged or failed in the search would do so again with another seed, however good it was before.

    Args:
        trials: best first.
        count: the most trials that are chosen.
    """
    fit = [trial for trial in trials if trial.best is not None and trial.is_sound and trial.index != 0]
    return fit[:count]


def epochs_share(trials: Sequence[TrialResult], max_epochs: int) -> float:
    """The epochs run, as a share of those that all trials together have at their full length."""
    return sum(trial.epochs_run for trial in trials) / (len(trials) * max_epochs)
