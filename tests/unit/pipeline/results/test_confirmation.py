"""Tests how models are ranked by several trainings each, against results worked out by hand."""

from dataclasses import replace
from itertools import permutations

import pytest

from pipeline.results.confirmation import (
    ConfirmedModel,
    FullLengthRun,
    TestScore,
    ranked,
    spread,
    winner_of,
)
from pipeline.results.leaderboard import choose_finalists
from pipeline.trials.records import BestEpoch, Outcome, TrialResult
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

SMALL = ViTConfig(embed_dim=32, num_heads=2, depth=1)
LARGE = replace(SMALL, depth=2)


def run(seed: int, accuracy: float, loss: float = 1.0) -> FullLengthRun:
    return FullLengthRun(seed, BestEpoch(3, accuracy, loss), f"run-{seed}", "folder", "digest")


def confirmed(
    index: int,
    accuracies: tuple[float, ...],
    losses: tuple[float, ...] | None = None,
    model: ViTConfig = SMALL,
    search_accuracy: float | None = None,
    error: str | None = None,
) -> ConfirmedModel:
    losses = losses or (1.0,) * len(accuracies)
    runs = tuple(run(seed, *pair) for seed, pair in enumerate(zip(accuracies, losses, strict=True)))
    return ConfirmedModel(TrialSpec(index, model, Recipe(), seed=0), search_accuracy, runs, error)


def order(models: list[ConfirmedModel]) -> list[int]:
    return [model.index for model in ranked(models)]


def found(index: int, outcome: Outcome, accuracy: float | None) -> TrialResult:
    best = None if accuracy is None else BestEpoch(3, accuracy, 1.0)
    return TrialResult(TrialSpec(index, SMALL, Recipe(), seed=0), outcome, best, 3, 10.0, (), f"run-{index}")


def test_finalists_are_the_best_that_neither_diverged_nor_failed() -> None:
    trials = [
        found(1, "diverged", 0.99), found(2, "failed", 0.98), found(0, "finished", 0.9), found(3, "asha", 0.8),
        found(4, "finished", 0.7), found(5, "finished", 0.6), found(6, "asha", None),
    ]  # fmt: skip
    assert [trial.index for trial in choose_finalists(trials, 2)] == [3, 4]
    assert [trial.index for trial in choose_finalists(trials, 9)] == [3, 4, 5]
    assert choose_finalists(trials[:3], 2) == []


def test_the_figures_of_a_model() -> None:
    model = confirmed(4, (0.70, 0.80, 0.90), search_accuracy=0.85)
    assert model.val_accuracies == [0.70, 0.80, 0.90]
    assert model.shrinkage == pytest.approx(0.05)  # its mean is 0.80
    assert spread(model.val_accuracies) == pytest.approx(0.1)  # the root of (0.01 + 0 + 0.01) / 2
    assert (model.index, model.is_published) == (4, False)
    assert confirmed(0, ()).is_published


def test_a_model_may_be_better_than_the_search_found_it() -> None:
    assert confirmed(1, (0.5, 0.7), search_accuracy=0.5).shrinkage == pytest.approx(-0.1)


def test_without_a_search_or_a_run_nothing_shrinks() -> None:
    assert confirmed(0, (0.5,)).shrinkage is None
    assert confirmed(1, (), search_accuracy=0.5, error="diverged").shrinkage is None


def test_a_single_value_has_no_spread() -> None:
    assert spread([0.5]) is None
    assert spread([]) is None
    assert spread([0.5, 0.5]) == 0


def test_the_mean_ranks_and_not_the_best_seed() -> None:
    lucky, steady = confirmed(1, (0.95, 0.55)), confirmed(2, (0.80, 0.80))
    assert order([lucky, steady]) == [2, 1]


def test_ties_go_to_the_mean_loss_then_the_smaller_model_then_the_earlier_trial() -> None:
    models = [
        confirmed(9, (0.8, 1.0), (0.9, 0.9), LARGE),  # highest mean accuracy
        confirmed(8, (0.9, 0.7), (0.1, 0.3), LARGE),  # then lowest mean loss, 0.2, although one of its runs has 0.3
        confirmed(7, (0.8, 0.8), (0.3, 0.3), SMALL),  # then fewest parameters
        confirmed(2, (0.8, 0.8), (0.3, 0.3), LARGE),  # then earliest
        confirmed(6, (0.8, 0.8), (0.3, 0.3), LARGE),
    ]
    assert all(order(list(shuffled)) == [9, 8, 7, 2, 6] for shuffled in permutations(models))


def test_a_model_with_a_failed_seed_comes_last_however_good_the_others_are() -> None:
    broken = confirmed(1, (0.99,), error="trial-01-seed-1 diverged: the loss is nan")
    assert order([broken, confirmed(2, (), error="failed"), confirmed(3, (0.1, 0.1))]) == [3, 1, 2]


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ((0.7, 0.9, 0.8), (0.1, 0.5, 0.1), 1),
        ((0.9, 0.7, 0.9), (0.5, 0.1, 0.4), 2),  # equal accuracy: the lower loss
        ((0.9, 0.9), (0.5, 0.5), 0),  # equal in both: the first seed
        ((0.4,), (2.0,), 0),
    ],
)
def test_the_best_run_stands_for_the_model(accuracies: tuple[float, ...], losses: tuple[float, ...], best: int) -> None:
    assert confirmed(1, accuracies, losses).best_run.seed == best


def test_means_that_differ_only_by_rounding_are_equal() -> None:
    """As floats, the mean of 0.1 and 0.7 is a little less than that of 0.4 and 0.4."""
    assert order([confirmed(2, (0.4, 0.4), (1.0, 1.0)), confirmed(1, (0.1, 0.7), (0.5, 0.5))]) == [1, 2]


def test_the_winner_of_the_ranked_models() -> None:
    models = ranked([confirmed(0, (0.6, 0.6)), confirmed(5, (0.7, 0.7)), confirmed(3, (0.9,), error="failed")])
    assert winner_of(models).index == 5


def test_the_accuracy_on_the_test_images_is_the_share_that_is_correct() -> None:
    assert TestScore(3, 8, (1.0, None)).accuracy == 0.375
