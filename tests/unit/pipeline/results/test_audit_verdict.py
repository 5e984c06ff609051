"""Tests the verdict of an audit of ASHA, on searches whose accuracies at full length are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.results.audit_verdict import (
    AuditedTrial,
    AuditVerdict,
    RungVerdict,
    audit_lines,
    audit_verdict,
    choose_audited,
)
from pipeline.trials.records import BestEpoch, Outcome, TrialResult
from pipeline.trials.rungs import Decision, Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

RUNGS = Rungs(grace_epochs=2, reduction_factor=3, max_epochs=18)
"""The rungs are at epochs 2 and 6."""


def result(index: int, outcome: Outcome, best: float, *at_rungs: float) -> TrialResult:
    """Returns a trial with these accuracies at epochs 2 and 6; one with outcome `asha` was stopped at the last one."""
    spec = TrialSpec(index, ViTConfig(), Recipe(), seed=0)
    decisions = tuple(
        Decision(epoch, accuracy, None, 1, 1, outcome != "asha" or position < len(at_rungs))
        for position, (epoch, accuracy) in enumerate(zip((2, 6), at_rungs, strict=False), start=1)
    )
    return TrialResult(spec, outcome, BestEpoch(1, best, 1.0), 1, 1.0, decisions, run_id="")


def stopped(*indices: int) -> list[TrialResult]:
    return [result(index, "asha", 0.5, 0.5) for index in indices]


FINISHED = [
    result(1, "finished", 0.90, 0.50, 0.70),
    result(0, "finished", 0.80, 0.40, 0.60),
    result(2, "finished", 0.75, 0.45, 0.55),
]
STOPPED = [
    result(3, "asha", 0.58, 0.44, 0.58),  # stopped at epoch 6
    result(4, "asha", 0.30, 0.30),  # stopped at epoch 2
    result(5, "asha", 0.20, 0.20),
]


def test_the_verdict_by_hand() -> None:
    verdict = audit_verdict(RUNGS, [*FINISHED, *STOPPED], {4: 0.60, 3: 0.70})
    # At epoch 2, the accuracies 0.50 0.40 0.45 0.44 0.30 are compared with 0.90 0.80 0.75 0.70 0.60 at full length. The
    # ranks are 5 2 4 3 1 and 5 4 3 2 1, so the correlation is 1 - 6 (0 + 4 + 1 + 1 + 0) / (5 * 24) = 0.7. At epoch 6,
    # 0.70 0.60 0.55 0.58 are compared with 0.90 0.80 0.75 0.70. The ranks are 4 3 1 2 and 4 3 2 1, so the correlation
    # is 1 - 6 (0 + 0 + 1 + 1) / (4 * 15) = 0.8.
    assert [(rung.epoch, rung.trials) for rung in verdict.rungs] == [(2, 5), (6, 4)]
    assert [rung.correlation for rung in verdict.rungs] == pytest.approx([0.7, 0.8])
    assert verdict.audited == (AuditedTrial(3, 6, 0.58, 0.70), AuditedTrial(4, 2, 0.30, 0.60))
    assert (verdict.winner_accuracy, verdict.lost) == (0.90, ())


def test_correlations_are_spearmans_with_ties_too() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        there, later = random.integers(0, 6, 12) / 10, random.integers(0, 6, 12) / 10
        trials = [
            result(index, "finished", float(end), float(accuracy))
            for index, (accuracy, end) in enumerate(zip(there, later, strict=True))
        ]
        expected = pd.Series(there).corr(pd.Series(later), method="spearman")  # computed by scipy
        assert audit_verdict(RUNGS, trials, {}).rungs[0].correlation == pytest.approx(expected)


def test_trials_that_neither_finished_nor_were_audited_do_not_count() -> None:
    others = [
        result(6, "diverged", 0.9, 0.9, 0.9),
        result(7, "failed", 0.9, 0.9, 0.9),
        result(8, "interrupted", 0.9, 0.9, 0.9),
        result(9, "asha", 0.4, 0.4),
    ]
    audited = {4: 0.60}
    trials = [*FINISHED, *STOPPED]
    assert audit_verdict(RUNGS, [*trials, *others], audited) == audit_verdict(RUNGS, trials, audited)


def test_a_rungs_verdict_is_over_those_that_reached_it() -> None:
    early = result(6, "finished", 0.7)  # it has no decision: it reached no rung
    verdict = audit_verdict(RUNGS, [*FINISHED, early, *STOPPED], {4: 0.6, 5: 0.5})
    assert [rung.trials for rung in verdict.rungs] == [5, 3]


def test_two_trials_give_no_correlation_and_nor_do_equal_ones() -> None:
    assert audit_verdict(RUNGS, FINISHED[:2], {}).rungs == (RungVerdict(2, None, 2), RungVerdict(6, None, 2))
    level = [result(index, "finished", 0.9 - 0.1 * index, 0.5, 0.5 - 0.1 * index) for index in range(3)]
    verdicts = audit_verdict(RUNGS, level, {}).rungs
    assert verdicts[0].correlation is None
    assert verdicts[1].correlation == pytest.approx(1)


def test_a_trial_is_lost_where_it_beats_the_searchs_best() -> None:
    trials = [*FINISHED, *STOPPED]
    assert audit_verdict(RUNGS, trials, {3: 0.90, 4: 0.91, 5: 0.95}).lost == (5, 4)  # a tie is no loss


def test_the_winner_may_have_been_stopped_itself() -> None:
    trials = [result(4, "asha", 0.6, 0.6), result(0, "finished", 0.5, 0.3)]
    verdict = audit_verdict(RUNGS, trials, {4: 0.8})
    assert (verdict.winner_accuracy, verdict.lost) == (0.6, (4,))


def agreeing(*orders: tuple[float, ...]) -> list[TrialResult]:
    """Returns finished trials with falling accuracies at full length; each of `orders` has those at one rung."""
    return [
        result(index, "finished", 0.9 - 0.1 * index, *at) for index, at in enumerate(zip(*orders, strict=True), start=1)
    ]


SORTED, MIXED = (0.8, 0.7, 0.6, 0.5), (0.5, 0.8, 0.6, 0.7)


@pytest.mark.parametrize(
    ("first", "second", "safe_from"),
    [(SORTED, SORTED, 2), (MIXED, SORTED, 6), (SORTED, MIXED, None), (MIXED, MIXED, None)],
)
def test_stopping_is_safe_from_where_every_rung_foretells_the_end(
    first: tuple[float, ...], second: tuple[float, ...], safe_from: int | None
) -> None:
    assert audit_verdict(RUNGS, agreeing(first, second), {}).grace_epochs == safe_from


def test_a_correlation_of_08_is_enough() -> None:
    # The ranks 4 3 1 2 have a correlation of 0.8 with 4 3 2 1, and the ranks 3 4 1 2 have one of 0.6.
    assert audit_verdict(RUNGS, agreeing(SORTED, (0.8, 0.7, 0.5, 0.6)), {}).grace_epochs == 2
    assert audit_verdict(RUNGS, agreeing(SORTED, (0.7, 0.8, 0.5, 0.6)), {}).grace_epochs is None


@pytest.mark.parametrize(
    ("trial", "safe_from"),
    [(result(80, "asha", 0.9, 0.9), 6), (result(80, "asha", 0.9, 0.9, 0.9), None), (result(80, "asha", 0.3, 0.3), 6)],
)
def test_stopping_is_not_safe_at_or_below_the_rung_where_a_winner_was_stopped(
    trial: TrialResult, safe_from: int | None
) -> None:
    falling = tuple(1 - 0.01 * position for position in range(30))
    many = agreeing(falling, falling)
    verdict = audit_verdict(RUNGS, [*many, trial], {80: 0.99})
    assert verdict.lost == (80,)
    assert verdict.grace_epochs == safe_from


def test_an_unknown_correlation_shows_nothing_safe() -> None:
    """Only two trials reached the last rung, too few for a correlation."""
    low = [replace(trial, decisions=trial.decisions[:1]) for trial in agreeing(SORTED, SORTED)[2:]]
    verdict = audit_verdict(RUNGS, agreeing(SORTED, SORTED)[:2] + low, {})
    assert verdict.rungs[0].correlation == pytest.approx(1)
    assert verdict.rungs[1].correlation is None
    assert verdict.grace_epochs is None


def test_a_search_without_rungs_recommends_nothing() -> None:
    verdict = audit_verdict(Rungs(1, 3, max_epochs=1), [result(0, "finished", 0.9)], {})
    assert verdict == AuditVerdict((), (), 0.9, (), None)
    assert "the search had no rung" in audit_lines(verdict)[-1]


@pytest.mark.parametrize("index", [1, 99])
def test_only_stopped_trials_can_have_been_audited(index: int) -> None:
    with pytest.raises(ValueError, match=rf"\[{index}\] are none that ASHA stopped"):
        audit_verdict(RUNGS, [*FINISHED, *STOPPED], {4: 0.6, index: 0.7})


def test_a_search_without_an_epoch_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="no trial completed an epoch"):
        audit_verdict(RUNGS, [], {})
    with pytest.raises(ValueError, match="no trial completed an epoch"):
        audit_verdict(RUNGS, [replace(FINISHED[0], best=None)], {})


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (0, []),
        (1, [10]),
        (2, [10, 19]),
        (3, [10, 14, 19]),
        (4, [10, 13, 16, 19]),
        (9, [10, 11, 12, 13, 14, 15, 16, 17, 19]),
        (10, list(range(10, 20))),
        (99, list(range(10, 20))),
    ],
)
def test_the_audited_are_spread_over_the_ranks_of_the_stopped(count: int, chosen: list[int]) -> None:
    assert (
        choose_audited([FINISHED[0], *stopped(*range(10, 15)), FINISHED[1], *stopped(*range(15, 20))], count) == chosen
    )


def test_ranks_count_and_not_indices() -> None:
    assert choose_audited(stopped(7, 3, 9, 1, 5), 3) == [7, 9, 5]


@pytest.mark.parametrize("outcome", ["finished", "diverged", "interrupted", "failed"])
def test_only_what_asha_stopped_is_audited(outcome: Outcome) -> None:
    assert choose_audited([result(1, outcome, 0.9, 0.5)], 3) == []


@pytest.mark.parametrize("number", range(1, 40))
def test_no_trial_is_chosen_twice(number: int) -> None:
    for count in range(number + 2):
        chosen = choose_audited(stopped(*range(number)), count)
        assert len(set(chosen)) == len(chosen) == min(count, number)
        gaps = np.diff(chosen)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_the_verdict_in_words() -> None:
    verdict = AuditVerdict(
        rungs=(RungVerdict(2, 0.714, 9), RungVerdict(6, 0.85, 5), RungVerdict(18, None, 1)),
        audited=(AuditedTrial(4, 2, 0.31, 0.612), AuditedTrial(7, 6, 0.5, 0.55)),
        winner_accuracy=0.63,
        lost=(),
        grace_epochs=None,
    )
    assert audit_lines(verdict) == [
        "audit: 2 trials stopped by ASHA, trained to full length: none would have won",
        "the best of them, trial 4, stopped at epoch 2 with 31.00%, came to 61.20%; the search's best is 63.00%",
        "epoch 2: rank correlation with the full-length accuracy 0.71 over 9 trials",
        "epoch 6: rank correlation with the full-length accuracy 0.85 over 5 trials",
        "epoch 18: no rank correlation over 1 trial, it takes 3 that differ",
        "recommended grace period: above 18 epochs; no rung shows rank correlations of at least 0.8 from there on, "
        "and no winner stopped",
    ]


def test_lost_trials_and_a_safe_rung_in_words() -> None:
    audited = (AuditedTrial(4, 2, 0.31, 0.71), AuditedTrial(9, 2, 0.3, 0.70))
    lines = audit_lines(AuditVerdict((RungVerdict(6, 0.9, 5),), audited, 0.63, (4, 9), 6))
    assert lines[0] == "audit: 2 trials stopped by ASHA, trained to full length: 2 would have won (trial 4, 9)"
    assert lines[-1] == (
        "recommended grace period: 6 epochs (rank correlations of at least 0.8 from there on, and no winner stopped)"
    )


def test_no_audit_in_words() -> None:
    lines = audit_lines(AuditVerdict((RungVerdict(2, 0.9, 5),), (), 0.63, (), 2))
    assert lines[0] == "audit: no trial that ASHA had stopped was trained further"
    assert len(lines) == 3
