"""Tests the leaderboard and the results of trials whose records are made by hand."""

from dataclasses import replace
from itertools import permutations

import pytest

from pipeline.results.leaderboard import epochs_share, leaderboard
from pipeline.trials.records import BestEpoch, EpochRecord, Outcome, TrialRecord, TrialResult
from pipeline.trials.rungs import Decision
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

SMALL = ViTConfig(embed_dim=32, num_heads=2, depth=1)
LARGE = replace(SMALL, depth=2)


def trial(
    index: int,
    accuracies: tuple[float, ...],
    losses: tuple[float, ...] | None = None,
    model: ViTConfig = SMALL,
    outcome: Outcome = "finished",
) -> TrialRecord:
    losses = losses or (1.0,) * len(accuracies)
    epochs = tuple(
        EpochRecord(number, {"val/accuracy": accuracy, "val/loss": loss, "epoch_seconds": 2.0})
        for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), start=1)
    )
    return TrialRecord(TrialSpec(index, model, Recipe(), seed=0), outcome, epochs)


def order(trials: list[TrialRecord]) -> list[int]:
    return [each.index for each in leaderboard(trials)]


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [((0.5,), 1), ((0.3, 0.9, 0.4), 2), ((0.3, 0.9, 0.9), 2), ((0.0, 0.0, 0.0), 1), ((0.1, 0.2, 0.3), 3)],
)
def test_the_best_epoch_is_the_earliest_of_equals_and_not_the_last(accuracies: tuple[float, ...], best: int) -> None:
    epoch = trial(0, accuracies).best
    assert epoch is not None
    assert epoch.number == best
    assert epoch.accuracy == max(accuracies)


def test_trials_are_ranked_by_their_best_epochs_not_by_their_last() -> None:
    # By the last epochs trial 1 would win, and by the means of all epochs trial 2.
    trials = [trial(0, (0.1, 0.9, 0.2)), trial(1, (0.1, 0.1, 0.8)), trial(2, (0.7, 0.7, 0.7))]
    assert order(trials) == [0, 1, 2]


def test_the_loss_that_counts_is_that_of_the_best_epoch() -> None:
    falls_later = trial(0, (0.9, 0.5), (2.0, 0.1))
    assert order([falls_later, trial(1, (0.9, 0.5), (1.0, 3.0))]) == [1, 0]


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_a_trial_that_broke_is_behind_all_that_did_not(outcome: Outcome) -> None:
    broken, none = trial(0, (0.9,), outcome=outcome), trial(1, (), outcome=outcome)
    assert order([none, broken, trial(2, (0.1,)), trial(3, (0.2,), outcome="asha")]) == [3, 2, 0, 1]


def test_ties_go_to_the_loss_then_the_smaller_model_then_the_earlier_trial() -> None:
    ranked = [
        trial(9, (0.9,), (0.5,), LARGE),  # highest accuracy
        trial(8, (0.8,), (0.3,), LARGE),  # then lowest loss
        trial(7, (0.8,), (0.4,), SMALL),  # then fewest parameters
        trial(2, (0.8,), (0.4,), LARGE),  # then earliest
        trial(6, (0.8,), (0.4,), LARGE),
    ]
    expected = [each.index for each in ranked]
    assert all(order(list(shuffled)) == expected for shuffled in permutations(ranked))


def test_trials_without_an_epoch_come_last() -> None:
    trials = [trial(0, (), outcome="failed"), trial(1, (0.0,), outcome="asha"), trial(2, (), outcome="diverged")]
    assert order(trials) == [1, 0, 2]
    assert trials[0].best is None


def test_a_stopped_trial_wins_where_it_is_best() -> None:
    assert order([trial(0, (0.5, 0.6)), trial(1, (0.7,), outcome="asha")]) == [1, 0]


def test_share_of_the_full_grid() -> None:
    records = [trial(0, (0.1,) * 9), trial(1, (0.1,) * 3), trial(2, ()), trial(3, (0.1,))]
    trials = [TrialResult.of(record, "run") for record in records]
    assert epochs_share(trials, max_epochs=9) == pytest.approx((9 + 3 + 0 + 1) / (4 * 9))
    assert epochs_share(trials[:1], max_epochs=9) == 1.0


def test_a_result_is_a_record_in_short() -> None:
    decided = (Decision(1, 0.3, None, 1, 1, True), Decision(3, 0.4, 0.5, 2, 3, False))
    record = replace(trial(4, (0.3, 0.9, 0.4), (1.0, 0.5, 0.25), outcome="asha"), error="why", decisions=decided)
    result = TrialResult.of(record, "1234")
    assert result == TrialResult(record.spec, "asha", BestEpoch(2, 0.9, 0.5), 3, 6.0, decided, "1234", "why")
    assert (result.index, result.num_parameters) == (4, record.num_parameters)


def test_a_result_without_an_epoch_has_no_best() -> None:
    result = TrialResult.of(trial(1, (), outcome="failed"), "1234")
    assert (result.best, result.epochs_run, result.seconds) == (None, 0, 0)


def test_the_seconds_of_a_trial_are_those_of_its_epochs() -> None:
    assert trial(0, (0.1, 0.2, 0.3)).seconds == 6.0
    assert trial(0, ()).seconds == 0


def test_parameters_are_counted_by_hand() -> None:
    # Patches of 4x4x3 to a width of 32, class token, 65 positions, a block of 2 norms, qkv, proj and MLP, a norm, head.
    block = 2 * 64 + (32 * 96 + 96) + (32 * 32 + 32) + (32 * 128 + 128) + (128 * 32 + 32)
    assert trial(0, ()).num_parameters == (48 * 32 + 32) + 32 + 65 * 32 + block + 64 + (32 * 10 + 10)
