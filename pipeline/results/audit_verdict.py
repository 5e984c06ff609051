"""Judges what ASHA's early stopping cost, from stopped trials that an audit has trained to their full length."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation

from pipeline.trials.records import TrialResult
from pipeline.trials.rungs import Rungs

TRUSTED_CORRELATION = 0.8
"""From this rank correlation on, the order at a rung is trusted to predict the order at full length."""
FEWEST_PAIRS = 3
"""The smallest number of trials over which a correlation is computed."""


@dataclass(frozen=True)
class RungVerdict:
    """How well the order of the trials at a rung predicted their order at full length."""

    epoch: int
    """The rung."""
    correlation: float | None
    """Spearman's rank correlation between the accuracy at the rung and the best accuracy at full length. None where it
    is not defined: for fewer than 3 trials, or if all have the same accuracy at one of the two."""
    trials: int
    """The number of trials that the correlation is computed over."""


@dataclass(frozen=True)
class AuditedTrial:
    """A trial that ASHA stopped and the audit trained to its full length; accuracies are fractions, on validation."""

    index: int
    stopped_at: int
    """The epoch of the rung at which ASHA stopped it."""
    rung_accuracy: float
    full_accuracy: float
    """Its best accuracy at full length."""


@dataclass(frozen=True)
class AuditVerdict:
    """What stopping trials early cost, and from which rung on it would be safe."""

    rungs: tuple[RungVerdict, ...]
    """Lowest first."""
    audited: tuple[AuditedTrial, ...]
    """Best at full length first."""
    winner_accuracy: float
    """The best validation accuracy of the search, a fraction."""
    lost: tuple[int, ...]
    """The indices of the audited trials that would have beaten the search's best, best first."""
    grace_epochs: int | None
    """The lowest rung from which on stopping is safe: there and at every later rung, the correlation is known and at
    least 0.8, and no lost trial was stopped. None if there is no such rung: the grace period should then be longer than
    the last rung."""


def choose_audited(trials: Sequence[TrialResult], count: int) -> list[int]:
    """Chooses trials that ASHA stopped for the audit; returns their indices.

    They are spread evenly over the ranks of the stopped trials. The best one is included and, if at least two are
    chosen, the worst one. If fewer than `count` trials were stopped, all of them are chosen.

    Args:
        trials: the search's trials, best first.
        count: how many to choose, at least 0.
    """
    stopped = [trial.index for trial in trials if trial.outcome == "asha"]
    count = min(count, len(stopped))
    if count < 2:
        return stopped[:count]
    return [stopped[number * (len(stopped) - 1) // (count - 1)] for number in range(count)]


def audit_verdict(rungs: Rungs, trials: Sequence[TrialResult], audited: Mapping[int, float]) -> AuditVerdict:
    """Compares the trials' accuracies at ASHA's rungs with their accuracies at full length.

    A rung's verdict covers the audited trials that reached it and the trials that finished in the search. The higher a
    rung, the fewer and the more alike these trials are, and the lower a correlation tends to be.

    Args:
        rungs: the search's rungs.
        trials: the search's trials with their results in the search, best first.
        audited: the best validation accuracy at full length of each audited trial, a fraction, by index.

    Raises:
        ValueError: an audited trial is not one that ASHA stopped, or no trial completed an epoch.
    """
    if not trials or trials[0].best is None:
        raise ValueError("no trial completed an epoch: there is nothing to compare")
    winner_accuracy = trials[0].best.accuracy
    compared = _audited_trials(trials, audited)
    lost = tuple(trial for trial in compared if trial.full_accuracy > winner_accuracy)
    at_the_end = {**_accuracies_at_the_end(trials), **audited}
    verdicts = tuple(_rung_verdict(epoch, trials, at_the_end) for epoch in rungs.epochs)
    grace_epochs = _safe_from(verdicts, lost)
    return AuditVerdict(verdicts, compared, winner_accuracy, tuple(trial.index for trial in lost), grace_epochs)


def _audited_trials(trials: Iterable[TrialResult], audited: Mapping[int, float]) -> tuple[AuditedTrial, ...]:
    stopped = {trial.index: trial.decisions[-1] for trial in trials if trial.outcome == "asha"}
    strangers = sorted(audited.keys() - stopped.keys())
    if strangers:
        raise ValueError(f"the audited trials {strangers} are none that ASHA stopped")
    found = [
        AuditedTrial(index, stopped[index].epoch, stopped[index].accuracy, accuracy)
        for index, accuracy in audited.items()
    ]
    return tuple(sorted(found, key=lambda trial: (-trial.full_accuracy, trial.index)))


def _accuracies_at_the_end(trials: Iterable[TrialResult]) -> dict[int, float]:
    """The best accuracies of the trials that finished in the search, by index."""
    return {
        trial.index: trial.best.accuracy for trial in trials if trial.outcome == "finished" and trial.best is not None
    }


def _rung_verdict(epoch: int, trials: Iterable[TrialResult], at_the_end: Mapping[int, float]) -> RungVerdict:
    pairs = [
        (decision.accuracy, at_the_end[trial.index])
        for trial in trials
        if trial.index in at_the_end
        for decision in trial.decisions
        if decision.epoch == epoch
    ]
    return RungVerdict(epoch, _rank_correlation(pairs), len(pairs))


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's correlation, which is Pearson's of the ranks; None with too few pairs or if a side is constant."""
    if len(pairs) < FEWEST_PAIRS:
        return None
    there, later = zip(*pairs, strict=True)
    try:
        return correlation(_ranks(there), _ranks(later))
    except StatisticsError:  # one side is constant
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value, from 1 for the smallest; equal values share the mean of their ranks."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def _safe_from(verdicts: Sequence[RungVerdict], lost: Sequence[AuditedTrial]) -> int | None:
    safe_from = None
    for verdict in reversed(verdicts):
        is_trusted = verdict.correlation is not None and verdict.correlation >= TRUSTED_CORRELATION
        if not is_trusted or any(trial.stopped_at == verdict.epoch for trial in lost):
            break
        safe_from = verdict.epoch
    return safe_from


def audit_lines(verdict: AuditVerdict) -> list[str]:
    """The verdict in words."""
    return [*_cost_lines(verdict), *map(_rung_line, verdict.rungs), _grace_line(verdict)]


def _cost_lines(verdict: AuditVerdict) -> list[str]:
    if not verdict.audited:
        return ["audit: no trial that ASHA had stopped was trained further"]
    lost, best = ", ".join(map(str, verdict.lost)), verdict.audited[0]
    would_have_won = f"{len(verdict.lost)} would have won (trial {lost})" if verdict.lost else "none would have won"
    return [
        f"audit: {_trials(len(verdict.audited))} stopped by ASHA, trained to full length: {would_have_won}",
        f"the best of them, trial {best.index}, stopped at epoch {best.stopped_at} with {best.rung_accuracy:.2%}, came "
        f"to {best.full_accuracy:.2%}; the search's best is {verdict.winner_accuracy:.2%}",
    ]


def _rung_line(rung: RungVerdict) -> str:
    if rung.correlation is None:
        needed = f"it takes {FEWEST_PAIRS} that differ"
        return f"epoch {rung.epoch}: no rank correlation over {_trials(rung.trials)}, {needed}"
    correlation = f"rank correlation with the full-length accuracy {rung.correlation:.2f}"
    return f"epoch {rung.epoch}: {correlation} over {_trials(rung.trials)}"


def _grace_line(verdict: AuditVerdict) -> str:
    if not verdict.rungs:
        return "recommended grace period: unknown, because the search had no rungs"
    rule = f"rank correlations of at least {TRUSTED_CORRELATION} from there on, and no winner stopped"
    if verdict.grace_epochs is None:
        return f"recommended grace period: above {verdict.rungs[-1].epoch} epochs; no rung shows {rule}"
    return f"recommended grace period: {verdict.grace_epochs} epochs ({rule})"


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"
