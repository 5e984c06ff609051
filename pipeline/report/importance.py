"""Estimates how much each searched hyperparameter mattered to the accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.trials.records import TrialResult
from tune_spaces.space import Space, drawn_value, is_log
from vit.data.arrays import DataShape

FEWEST_TRIALS = 10
TREES = 500
"""So many that another random state changes a share by only a few hundredths."""
SHOWN = 5
SMALLEST_SHOWN = 0.01


@dataclass(frozen=True)
class Importance:
    """What a random forest learnt about the hyperparameters of a search."""

    target: str
    """The accuracy that the forest predicts, in words."""
    trials: int
    """How many trials the forest learnt from."""
    score: float
    """Out-of-bag R²: 1 explains every difference, 0 or less explains none, and a little above 0 may be chance."""
    shares: dict[str, float]
    """Each hyperparameter's share, largest first; together they are 1. Only meaningful if `score` is above 0."""


def importance(space: Space, shape: DataShape, trials: Sequence[TrialResult]) -> Importance | None:
    """Estimates how much each searched hyperparameter mattered; None if fewer than 10 trials can be used.

    A random forest learns to predict the validation accuracy at the first rung from the drawn values: there, a trial
    that ASHA stopped is compared at the same epoch with one that trained to the end. Without rungs the forest predicts
    the best accuracy. The trials that were not drawn are left out, as are those that ended before the first rung. A
    trial that diverged before that rung is recorded there as the worst, but its accuracy was never measured.

    A share is a hyperparameter's part of the out-of-bag permutation importances (Breiman 2001,
    https://doi.org/10.1023/A:1010933404324). Impurity-based importances would favour hyperparameters with many values.
    Since they are measured on the trials that the trees have seen, they would also find importance in noise, most of
    all where trials are few.

    Args:
        space: the space that was searched.
        shape: the shape of the data set.
        trials: the trials, in any order.
    """
    # The forest samples trials by row: sorting makes the same trials give the same shares.
    drawn = sorted((trial for trial in trials if trial.index >= len(space.known)), key=lambda trial: trial.index)
    domains = space.domains(shape)
    target, accuracies = _target(drawn)
    known = [trial for trial in drawn if trial.index in accuracies]
    if len(known) < FEWEST_TRIALS or not domains:
        return None
    values = np.column_stack([_column(known, name, is_log(domain)) for name, domain in domains.items()])
    scores = np.array([accuracies[trial.index] for trial in known])
    if np.ptp(scores) == 0:
        return Importance(target, len(known), 0.0, dict.fromkeys(domains, 1 / len(domains)))
    forest = _forest(values, scores)
    shares = dict(zip(domains, _shares(_permutation_importances(forest, values, scores)), strict=True))
    largest_first = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(target, len(known), float(forest.oob_score_), largest_first)


def _target(trials: Sequence[TrialResult]) -> tuple[str, dict[int, float]]:
    """Returns what is predicted, in words, and its value by trial index."""
    firsts = {
        trial.index: trial.decisions[0] for trial in trials if trial.decisions and not _diverged_before_rungs(trial)
    }
    if not firsts:
        bests = {trial.index: trial.best.accuracy for trial in trials if trial.best is not None}
        return "best validation accuracy", bests
    rung = min(decision.epoch for decision in firsts.values())
    accuracies = {index: decision.accuracy for index, decision in firsts.items() if decision.epoch == rung}
    return f"validation accuracy at epoch {rung}", accuracies


def _diverged_before_rungs(trial: TrialResult) -> bool:
    """Whether a trial diverged before the first rung, so that the accuracy recorded there is not its own."""
    return trial.outcome == "diverged" and not trial.decisions[0].go_on


def _column(trials: Sequence[TrialResult], name: str, log: bool) -> NDArray[np.float64]:
    """Returns a hyperparameter's value in each trial as a number.

    Strings are numbered, and booleans become 0 and 1. A tree can still separate an option from the others with two
    splits, and one column for each hyperparameter gives all of them the same chance to be considered at a split.
    """
    values: list[Any] = [drawn_value(trial.spec, name) for trial in trials]
    if not all(isinstance(value, (int, float)) for value in values):
        numbers = {option: number for number, option in enumerate(sorted({str(value) for value in values}))}
        values = [numbers[str(value)] for value in values]
    column = np.array(values, dtype=np.float64)
    return np.log(column) if log else column


def _forest(values: NDArray[np.float64], scores: NDArray[np.float64]) -> Any:
    # The import takes more than a second, and most commands do not need it.
    from sklearn.ensemble import RandomForestRegressor

    # Breiman's rule for regression: a third of the hyperparameters at each split, so that a strong one hides no others.
    forest = RandomForestRegressor(TREES, max_features=1 / 3, oob_score=True, random_state=0, n_jobs=1)
    return forest.fit(values, scores)


def _permutation_importances(
    forest: Any, values: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns how much a tree's squared error on the trials it has not seen grows when a column is shuffled.

    One value for each column, the mean over the trees; it is negative where shuffling happened to help.
    """
    random = np.random.default_rng(0)
    growths = []
    for tree, seen in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        unseen = np.setdiff1d(np.arange(len(scores)), seen)
        if len(unseen) > 1:
            growths.append(_error_growth(tree, values[unseen], scores[unseen], random))
    mean: NDArray[np.float64] = np.mean(growths, axis=0)
    return mean


def _error_growth(
    tree: Any, values: NDArray[np.float64], scores: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    count, columns = values.shape
    versions = np.repeat(values[np.newaxis], columns + 1, axis=0)  # one with each column shuffled, and the original
    for column in range(columns):
        versions[column, :, column] = random.permutation(values[:, column])
    # All versions in one call, because a call costs far more than a row.
    predicted = tree.predict(versions.reshape(-1, columns)).reshape(columns + 1, count)
    errors = ((predicted - scores) ** 2).mean(axis=1)
    growth: NDArray[np.float64] = errors[:-1] - errors[-1]
    return growth


def _shares(importances: NDArray[np.float64]) -> list[float]:
    positive = np.maximum(importances, 0)
    total = positive.sum()
    if total == 0:
        return [1 / len(importances)] * len(importances)
    return [float(share) for share in positive / total]


def importance_lines(found: Importance | None) -> list[str]:
    """Says in words which hyperparameters mattered most, or that the trials cannot tell."""
    if found is None:
        return [f"what mattered: fewer than {FEWEST_TRIALS} trials got far enough to tell"]
    basis = f"{found.target}, {found.trials} trials, out-of-bag R² {found.score:.2f}"
    if found.score <= 0:
        return [f"what mattered: the trials are too few or too noisy to tell ({basis})"]
    shown = [f"{name} {share:.0%}" for name, share in list(found.shares.items())[:SHOWN] if share >= SMALLEST_SHOWN]
    rest = list(found.shares.values())[len(shown) :]
    others = [f"the other {len(rest)} together {sum(rest):.0%}"] if rest else []
    return [f"what mattered: {', '.join([*shown, *others])}", f"(random forest: {basis})"]
