"""What an audit of ASHA found: trials that it had stopped were trained on, to see what stopping them cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation

from pipeline.trials.records import TrialResult
from pipeline.trials.rungs import Rungs

TRUSTED_CORRELATION = 0.8
"""From here on the order at a rung counts as the order at the end."""
FEWEST_PAIRS = 3
"""Trials that a correlation takes."""


@dataclass(frozen=True)
class RungVerdict:
    """How well the order at a rung foretold the order at the end."""

    epoch: int
    """The rung."""
    correlation: float | None
    """Spearman's, between the accuracy there and the best accuracy at full length; None where it is not defined:
    for fewer than 3 trials, or where all have the same accuracy."""
    trials: int
    """That it was taken over."""


@dataclass(frozen=True)
class AuditedTrial:
    """A trial that ASHA stopped and that was trained on to the full length. Accuracies: fractions, of validation."""

    index: int
    stopped_at: int
    """The epoch of the rung."""
    rung_accuracy: float
    full_accuracy: float
    """The best, at full length."""


@dataclass(frozen=True)
class AuditVerdict:
    """What stopping trials early cost, and from where on it would be safe."""

    rungs: tuple[RungVerdict, ...]
    """Lowest first."""
    audited: tuple[AuditedTrial, ...]
    """Best at full length first."""
    winner_accuracy: float
    """The search's best: a fraction, of the validation images."""
    lost: tuple[int, ...]
    """The audited trials that would have beaten it, best first, by index."""
    grace_epochs: int | None
    """The smallest rung from which on stopping is safe: there and at every later one the correlation is known and at
    least 0.8, and no lost trial was stopped. None where that holds from no rung on: the grace period should be longer
    than the last."""


def choose_audited(trials: Sequence[TrialResult], count: int) -> list[int]:
    """Which of the trials that ASHA stopped to train on, by index.

    They are spread evenly over the ranks of the stopped ones, the best and, from two on, the worst among them.
    Fewer than `count` where fewer were stopped.

    Args:
        trials: best first.
        count: at least 0.
    """
    stopped = [trial.index for trial in trials if trial.outcome == "asha"]
    count = min(count, len(stopped))
    if count < 2:
        return stopped[:count]
    return [stopped[number * (len(stopped) - 1) // (count - 1)] for number in range(count)]


def audit_verdict(rungs: Rungs, trials: Sequence[TrialResult], audited: Mapping[int, float]) -> AuditVerdict:
    """Compares what the trials were worth at ASHA's rungs with what they came to at full length.

    A rung's verdict is over the audited trials that reached it and those that finished by themselves. The higher a
    rung, the fewer and the more alike they are, and the lower a correlation tends to be.

    Args:
        rungs: those of the search.
        trials: the search's, best first, with what they came to in it.
        audited: best validation accuracy at full length, a fraction, by the index of a stopped trial.

    Raises:
        ValueError: an audited trial is none that ASHA stopped, or no trial completed an epoch.
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
    """By index, of those that finished by themselves."""
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
    """Spearman's: Pearson's of the ranks. None where there are too few pairs, or a side does not vary."""
    if len(pairs) < FEWEST_PAIRS:
        return None
    there, later = zip(*pairs, strict=True)
    try:
        return correlation(_ranks(there), _ranks(later))
    except StatisticsError:  # one side is constant
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1, the smallest; equals share the mean of their ranks."""
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
        return ["audit: no trial that ASHA had stopped was trained on"]
    lost, best = ", ".join(map(str, verdict.lost)), verdict.audited[0]
    would_have_won = f"{len(verdict.lost)} would have won (trial {lost})" if verdict.lost else "none would have won"
    return [
        f"audit: {_trials(len(verdict.audited))} stopped by ASHA, trained on to full length: {would_have_won}",
        f"the best of them, trial {best.index}, stopped at epoch {best.stopped_at} with {best.rung_accuracy:.2%}, came "
        f"to {best.full_accuracy:.2%}; the search's best is {verdict.winner_accuracy:.2%}",
    ]


def _rung_line(rung: RungVerdict) -> str:
    if rung.correlation is None:
        needed = f"it takes {FEWEST_PAIRS} that differ"
        return f"epoch {rung.epoch}: no rank correlation over {_trials(rung.trials)}, {needed}"
    return f"epoch {rung.epoch}: rank correlation with the end {rung.correlation:.2f} over {_trials(rung.trials)}"


def _grace_line(verdict: AuditVerdict) -> str:
    if not verdict.rungs:
        return "recommended grace period: none to tell, the search had no rung"
    rule = f"rank correlations of at least {TRUSTED_CORRELATION} from there on, and no winner stopped"
    if verdict.grace_epochs is None:
        return f"recommended grace period: above {verdict.rungs[-1].epoch} epochs; no rung shows {rule}"
    return f"recommended grace period: {verdict.grace_epochs} epochs ({rule})"


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"
