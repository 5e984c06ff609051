"""Tests importances where the answer is known, because the accuracies are computed from chosen hyperparameters."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ray import tune

from pipeline.report.importance import Importance, importance, importance_lines
from pipeline.trials.records import BestEpoch, TrialResult
from pipeline.trials.rungs import Decision
from tune_spaces.space import Domains, Space
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe, fast30_conv

DOMAINS: Domains = {
    "learning_rate": tune.loguniform(1e-4, 1e-2),
    "weight_decay": tune.loguniform(1e-3, 0.3),
    "depth": tune.randint(2, 7),
    "head_width": tune.choice([16, 32, 48]),
    "global_pool": tune.choice(["token", "avg"]),
    "batch_size": tune.choice([32, 64, 128]),
    "rotation": tune.choice([0.0, 15.0]),
    "flip": tune.choice([True, False]),
}
SHAPE = DataShape(32, 3, 10, mirror_safe=True)
SPACE = Space("digits", 9, lambda shape: DOMAINS)
IN_MODEL = ("depth", "global_pool")
DIED = Decision(3, 0.0, cutoff=0.5, rank=9, of=9, go_on=False)
"""The decision on a trial that diverged before it reached the rung."""


def draws(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [{name: domain.sample(random_state=random) for name, domain in DOMAINS.items()} for _ in range(count)]


def result(index: int, drawn: dict[str, Any], best: float | None, at_rungs: dict[int, float]) -> TrialResult:
    model = {name: drawn[name] for name in IN_MODEL}
    recipe = {name: value for name, value in drawn.items() if name not in (*IN_MODEL, "head_width")}
    spec = TrialSpec(index, ViTConfig(embed_dim=2 * drawn["head_width"], num_heads=2, **model), Recipe(**recipe), 0)
    decisions = tuple(Decision(epoch, accuracy, None, 1, 1, True) for epoch, accuracy in at_rungs.items())
    return TrialResult(spec, "asha", BestEpoch(1, best, 1.0) if best is not None else None, 1, 1.0, decisions, "")


def by_rate(drawn: dict[str, Any]) -> float:
    """Returns an accuracy from 0.2 to 0.9 that is linear in the logarithm of the learning rate."""
    return float(0.55 + 0.175 * (np.log10(drawn["learning_rate"]) + 3) * 2)


def by_depth(drawn: dict[str, Any]) -> float:
    return 0.1 * float(drawn["depth"])


def found_in(trials: list[TrialResult]) -> Importance:
    found = importance(SPACE, SHAPE, trials)
    assert found is not None
    return found


def top(found: Importance) -> str:
    return next(iter(found.shares))


def test_the_one_hyperparameter_that_matters_is_found() -> None:
    trials = [result(index, drawn, by_rate(drawn), {}) for index, drawn in enumerate(draws(31), start=1)]
    found = found_in(trials)
    assert (found.target, found.trials) == ("best validation accuracy", 31)
    assert found.score > 0.5
    assert top(found) == "learning_rate"
    assert found.shares["learning_rate"] > 0.7


def test_shares_are_sorted_and_sum_to_one() -> None:
    trials = [result(index, drawn, by_rate(drawn), {}) for index, drawn in enumerate(draws(31), start=1)]
    shares = found_in(trials).shares
    assert set(shares) == set(DOMAINS)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert min(shares.values()) >= 0


@pytest.mark.parametrize(
    ("name", "best_option"),
    [("global_pool", "avg"), ("head_width", 32), ("flip", True), ("rotation", 15.0), ("batch_size", 64)],
)
def test_a_choice_that_matters_is_found_also_where_its_middle_option_is_best(name: str, best_option: Any) -> None:
    trials = [
        result(index, drawn, 0.8 if drawn[name] == best_option else 0.5, {})
        for index, drawn in enumerate(draws(40), start=1)
    ]
    found = found_in(trials)
    assert top(found) == name
    assert found.shares[name] > 0.6


def test_twice_the_effect_has_the_larger_share() -> None:
    trials = [
        result(
            index, drawn, 0.5 + 0.2 * (drawn["global_pool"] == "avg") + 0.1 * (drawn["rotation"] == 0.0), at_rungs={}
        )
        for index, drawn in enumerate(draws(60), start=1)
    ]
    assert list(found_in(trials).shares)[:2] == ["global_pool", "rotation"]


def test_with_rungs_the_accuracy_at_the_first_counts_and_not_what_came_of_it() -> None:
    trials = [
        result(index, drawn, by_depth(drawn), {3: by_rate(drawn), 9: by_depth(drawn)})
        for index, drawn in enumerate(draws(31), start=1)
    ]
    found = found_in(trials)
    assert found.target == "validation accuracy at epoch 3"
    assert top(found) == "learning_rate"


def test_trials_that_did_not_stand_on_the_first_rung_are_left_out() -> None:
    reached = [result(index, drawn, 0.5, {3: by_rate(drawn)}) for index, drawn in enumerate(draws(20), start=1)]
    others = [result(index, drawn, 0.0, {}) for index, drawn in enumerate(draws(10, seed=1), start=21)]
    later = [result(index, drawn, 0.0, {9: 0.0}) for index, drawn in enumerate(draws(10, seed=2), start=31)]
    assert found_in(reached + others + later) == found_in(reached)
    assert found_in(reached).trials == 20


def test_a_trial_that_diverged_counts_where_it_was_measured() -> None:
    """If it diverged before the first rung, the 0 recorded there was not measured; if later, the accuracy there was."""
    reached = [result(index, drawn, 0.5, {3: by_rate(drawn)}) for index, drawn in enumerate(draws(20), start=1)]
    before, after = (
        [result(index, drawn, 0.5, {3: by_rate(drawn)}) for index, drawn in enumerate(draws(10, seed), start=30 * seed)]
        for seed in (1, 2)
    )
    nowhere = [replace(trial, outcome="diverged", decisions=(DIED,)) for trial in before]
    died = replace(DIED, epoch=9)
    later = [replace(trial, outcome="diverged", decisions=(*trial.decisions, died)) for trial in after]
    assert found_in(reached + nowhere) == found_in(reached)
    assert found_in(reached + later) == found_in(reached + after)


def test_trial_0_was_not_drawn() -> None:
    drawn, *others = draws(21)
    trials = [result(index, each, by_rate(each), {}) for index, each in enumerate(others, start=1)]
    assert found_in([result(0, drawn, 0.0, {}), *trials]) == found_in(trials)


def test_the_best_known_recipe_was_not_drawn() -> None:
    """Its values may lie outside the ranges: the logarithm of a weight decay of 0, say, would be infinite."""
    trials = [result(index, each, by_rate(each), {}) for index, each in enumerate(draws(22))]
    trials[1] = replace(trials[1], spec=replace(trials[1].spec, recipe=Recipe(weight_decay=0.0)))
    space = replace(SPACE, base=fast30_conv)
    assert importance(space, SHAPE, trials) == found_in(trials[2:])


def test_the_order_of_the_trials_changes_nothing() -> None:
    trials = [result(index, drawn, by_rate(drawn), {}) for index, drawn in enumerate(draws(20), start=1)]
    assert found_in(trials[::-1]) == found_in(trials)


@pytest.mark.parametrize(("count", "is_enough"), [(9, False), (10, True)])
def test_ten_trials_are_needed(count: int, is_enough: bool) -> None:
    trials = [result(index, drawn, by_rate(drawn), {}) for index, drawn in enumerate(draws(count), start=1)]
    empty = [result(index, drawn, None, {}) for index, drawn in enumerate(draws(5), start=50)]
    assert (importance(SPACE, SHAPE, trials + empty) is not None) == is_enough


def test_nothing_searched_has_no_importance() -> None:
    trials = [result(index, drawn, 0.5, {}) for index, drawn in enumerate(draws(20), start=1)]
    assert importance(Space("empty", 9, lambda shape: {}), SHAPE, trials) is None


def test_a_hyperparameter_that_never_varied_has_no_share() -> None:
    same = [{**drawn, "depth": 3} for drawn in draws(31)]
    trials = [result(index, drawn, by_rate(drawn), {}) for index, drawn in enumerate(same, start=1)]
    assert found_in(trials).shares["depth"] == 0


def test_equal_accuracies_explain_nothing() -> None:
    found = found_in([result(index, drawn, 0.1, {}) for index, drawn in enumerate(draws(12), start=1)])
    assert found.score == 0
    assert set(found.shares.values()) == {1 / len(DOMAINS)}


def test_noise_is_called_noise() -> None:
    random = np.random.default_rng(0)
    trials = [result(index, drawn, random.uniform(), {}) for index, drawn in enumerate(draws(31), start=1)]
    found = found_in(trials)
    assert found.score <= 0
    [line] = importance_lines(found)
    assert "too few or too noisy" in line
    assert not any(name in line for name in DOMAINS)


def test_the_lines_name_the_five_that_mattered_most() -> None:
    shares = {"learning_rate": 0.5, "depth": 0.2, "stem": 0.1, "flip": 0.08, "rotation": 0.06, "a": 0.04, "b": 0.02}
    assert importance_lines(Importance("validation accuracy at epoch 3", 31, 0.434, shares)) == [
        "what mattered: learning_rate 50%, depth 20%, stem 10%, flip 8%, rotation 6%, the other 2 together 6%",
        "(random forest: validation accuracy at epoch 3, 31 trials, out-of-bag R² 0.43)",
    ]


def test_few_hyperparameters_leave_no_others() -> None:
    lines = importance_lines(Importance("best validation accuracy", 12, 0.1, {"depth": 0.9, "flip": 0.1}))
    assert lines[0] == "what mattered: depth 90%, flip 10%"


def test_what_hardly_mattered_is_not_named() -> None:
    lines = importance_lines(Importance("best validation accuracy", 12, 0.1, {"depth": 0.991, "flip": 0.009, "a": 0.0}))
    assert lines[0] == "what mattered: depth 99%, the other 2 together 1%"


def test_too_few_trials_are_reported() -> None:
    assert importance_lines(None) == ["what mattered: fewer than 10 trials got far enough to tell"]
