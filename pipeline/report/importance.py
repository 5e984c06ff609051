"""How much each searched hyperparameter mattered to the accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.trials.records import TrialResult
from tune_spaces.space import Domains, drawn_value, is_log

FEWEST_TRIALS = 10
TREES = 500
"""So many that another random state moves a share by a few hundredths only."""
SHOWN = 5
SMALLEST_SHOWN = 0.01


@dataclass(frozen=True)
class Importance:
    """What a random forest learnt of a search."""

    target: str
    """The accuracy that it predicts, in words."""
    trials: int
    """It learnt from."""
    score: float
    """Out-of-bag R²: 1 explains every difference; 0 and below explain none, and a little above may be luck."""
    shares: dict[str, float]
    """By hyperparameter, largest first; their sum is 1. Without meaning where the score is not above 0."""


def importance(domains: Domains, trials: Sequence[TrialResult]) -> Importance | None:
    """How much each searched hyperparameter mattered; None where fewer than 10 trials can tell.

    A random forest learns the validation accuracy at the first rung from the drawn values: a trial that ASHA stopped
    is compared there with one that trained to the end at the same age. Without rungs it learns the best accuracy.
    Trial 0 was not drawn and is left out, as are trials that ended before the first rung: one that diverged stands
    there as the worst, but nobody has measured what its values are worth.

    A share is a hyperparameter's part of the out-of-bag permutation importances (Breiman 2001,
    https://doi.org/10.1023/A:1010933404324). Impurity would favour the hyperparameters with many values and, measured
    on what the trees have seen, find importance in noise, which weighs most where trials are few.

    Args:
        domains: what was searched, by hyperparameter.
        trials: in any order.
    """
    # The forest draws by row: sorted, so that the same trials give the same shares.
    drawn = sorted((trial for trial in trials if trial.index != 0), key=lambda trial: trial.index)
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
    """What is predicted, and its value by trial index."""
    firsts = {trial.index: trial.decisions[0] for trial in trials if trial.decisions and not _died_before_rungs(trial)}
    if not firsts:
        bests = {trial.index: trial.best.accuracy for trial in trials if trial.best is not None}
        return "best validation accuracy", bests
    rung = min(decision.epoch for decision in firsts.values())
    accuracies = {index: decision.accuracy for index, decision in firsts.items() if decision.epoch == rung}
    return f"validation accuracy at epoch {rung}", accuracies


def _died_before_rungs(trial: TrialResult) -> bool:
    """Whether it diverged before the first rung, where it stands without an accuracy of its own."""
    return trial.outcome == "diverged" and not trial.decisions[0].go_on


def _column(trials: Sequence[TrialResult], name: str, log: bool) -> NDArray[np.float64]:
    """A hyperparameter's value in each trial, as one number each.

    Strings and booleans are numbered: a tree takes any group of options apart by splitting twice, and one column for
    each hyperparameter gives all of them the same chance to be considered at a split.
    """
    values: list[Any] = [drawn_value(trial.spec, name) for trial in trials]
    if not all(isinstance(value, (int, float)) for value in values):
        numbers = {option: number for number, option in enumerate(sorted({str(value) for value in values}))}
        values = [numbers[str(value)] for value in values]
    column = np.array(values, dtype=np.float64)
    return np.log(column) if log else column


def _forest(values: NDArray[np.float64], scores: NDArray[np.float64]) -> Any:
    # Takes more than a second, and most commands need none of it.
    from sklearn.ensemble import RandomForestRegressor

    # A third of the hyperparameters at each split is Breiman's rule for regression: a strong one hides no others.
    forest = RandomForestRegressor(TREES, max_features=1 / 3, oob_score=True, random_state=0, n_jobs=1)
    return forest.fit(values, scores)


def _permutation_importances(
    forest: Any, values: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By how much a tree's squared error on the trials it has not seen grows when one column of theirs is shuffled.

    The mean over the trees, for each column; negative where shuffling happened to help.
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
    versions = np.repeat(values[np.newaxis], columns + 1, axis=0)  # one for each column shuffled, the last as it is
    for column in range(columns):
        versions[column, :, column] = random.permutation(values[:, column])
    # All in one call: a call costs far more than a row.
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
    """What mattered most, for people; or that the trials cannot tell."""
    if found is None:
        return [f"what mattered: fewer than {FEWEST_TRIALS} trials got far enough to tell"]
    basis = f"{found.target}, {found.trials} trials, out-of-bag R² {found.score:.2f}"
    if found.score <= 0:
        return [f"what mattered: the trials are too few or too noisy to tell ({basis})"]
    shown = [f"{name} {share:.0%}" for name, share in list(found.shares.items())[:SHOWN] if share >= SMALLEST_SHOWN]
    rest = list(found.shares.values())[len(shown) :]
    others = [f"the other {len(rest)} together {sum(rest):.0%}"] if rest else []
    return [f"what mattered: {', '.join([*shown, *others])}", f"(random forest: {basis})"]
