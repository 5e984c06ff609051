"""ASHA's ladder by hand and against Ray's own, and the policy that trial 0 is never stopped early."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from pipeline.exits import UsageError
from pipeline.search import Rungs, _Asha, _Here

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


@pytest.mark.parametrize(
    ("ladder", "epochs"),
    [
        (Rungs(1, 3, 27), [1, 3, 9]),
        (Rungs(3, 3, 27), [3, 9]),
        (Rungs(2, 3, 20), [2, 6, 18]),
        (Rungs(1, 2, 8), [1, 2, 4]),
        (Rungs(5, 4, 5), []),
        (Rungs(1, 3, 1), []),
    ],
)
def test_rungs_below_the_full_length(ladder: Rungs, epochs: list[int]) -> None:
    assert ladder.epochs == epochs


@pytest.mark.parametrize(
    ("max_epochs", "grace_epochs", "expected"),
    [(27, None, 2), (24, None, 2), (36, None, 3), (11, None, 1), (1, None, 1), (27, 5, 5)],
)
def test_the_first_rung_is_a_twelfth_unless_named(max_epochs: int, grace_epochs: int | None, expected: int) -> None:
    assert Rungs.of(max_epochs, grace_epochs, 3) == Rungs(expected, 3, max_epochs)


def test_a_first_rung_beyond_the_spaces_length_is_refused() -> None:
    with pytest.raises(UsageError, match="--grace-epochs is 28, but must be at most the full length, 27"):
        Rungs.of(27, 28, 3)


@pytest.mark.parametrize(
    ("ladder", "trials", "expected"),
    [
        # 9 trials do 1 epoch, 3 go on to epoch 3, 1 to epoch 9.
        (Rungs(1, 3, 9), 9, 9 * 1 + 3 * 2 + 1 * 6),
        # 32 to epoch 3, a third of them to 9, a ninth to 27.
        (Rungs(3, 3, 27), 32, 32 * 3 + 32 / 3 * 6 + 32 / 9 * 18),
        # No rung: the full grid.
        (Rungs(5, 3, 5), 7, 35),
        # One trial alone always goes on.
        (Rungs(1, 3, 9), 1, 9),
    ],
)
def test_expected_epochs_by_hand(ladder: Rungs, trials: int, expected: float) -> None:
    assert ladder.expected_epochs(trials) == pytest.approx(expected)


@pytest.mark.parametrize("max_epochs", [1, 2, 7, 8, 9, 10, 20, 27, 30, 81, 243, 300])
@pytest.mark.parametrize("reduction_factor", [2, 3, 4])
@pytest.mark.parametrize("grace_epochs", [1, 2, 3, 7])
def test_the_rungs_are_those_of_rays_scheduler(grace_epochs: int, reduction_factor: int, max_epochs: int) -> None:
    if grace_epochs > max_epochs:
        return
    scheduler: Any = AsyncHyperBandScheduler(
        time_attr="epoch", max_t=max_epochs, grace_period=grace_epochs, reduction_factor=reduction_factor
    )
    milestones = sorted(milestone for milestone, _ in scheduler._brackets[0]._rungs)
    expected = [milestone for milestone in milestones if milestone < max_epochs]
    assert Rungs(grace_epochs, reduction_factor, max_epochs).epochs == expected


@dataclass
class FakeTrial:
    """As much of Tune's trial as a scheduler looks at."""

    index: int
    trial_id: str = field(init=False)
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.trial_id, self.config = f"t{self.index}", {"trial": {"index": self.index}}


class Search:
    """The real scheduler, fed by hand; max 9 epochs, rungs 1 and 3, one in 3 goes on."""

    def __init__(self, trials: int) -> None:
        self.interrupted = False
        self.asha = _Asha(Rungs(1, 3, 9), _Here([], lambda: self.interrupted))
        self.asha.set_search_properties("val/accuracy", "max")
        self.trials = [FakeTrial(index) for index in range(trials)]
        for each in self.trials:
            self.asha.on_trial_add(tune_controller=None, trial=each)  # type: ignore[arg-type]

    def report(self, index: int, epoch: int, accuracy: float, **more: Any) -> str:
        result = {"epoch": epoch, "val/accuracy": accuracy, **more}
        return self.asha.on_trial_result(None, self.trials[index], result)

    def reason(self, index: int) -> str | None:
        return self.asha.reasons.get(self.trials[index].trial_id)


def test_a_trial_below_the_cut_off_stops_and_one_above_goes_on() -> None:
    search = Search(4)
    assert search.report(1, 1, 0.5) == CONTINUE  # the first on a rung always goes on
    assert search.report(2, 1, 0.4) == STOP
    assert search.report(3, 1, 0.6) == CONTINUE
    assert (search.reason(1), search.reason(2), search.reason(3)) == (None, "asha", None)


def test_nothing_stops_between_rungs() -> None:
    search = Search(3)
    search.report(1, 1, 0.5)
    assert search.report(2, 1, 0.5) == CONTINUE
    assert search.report(2, 2, 0.0) == CONTINUE


def test_trial_0_is_never_stopped_before_its_end() -> None:
    search = Search(3)
    assert search.report(1, 1, 0.9) == CONTINUE
    assert search.report(1, 3, 0.9) == CONTINUE
    for epoch in range(1, 9):
        assert search.report(0, epoch, 0.0) == CONTINUE
    assert search.report(0, 9, 0.0, done=True) == STOP
    assert search.reason(0) is None  # it finished
    assert search.report(2, 1, 0.0) == STOP  # an ordinary trial with the same result does not go on


def test_trial_0_counts_on_the_rungs() -> None:
    with_it, without = Search(2), Search(2)
    with_it.report(0, 1, 0.8)
    assert with_it.report(1, 1, 0.5) == STOP
    assert without.report(1, 1, 0.5) == CONTINUE


def test_a_weak_trial_0_counts_on_the_rungs_as_well() -> None:
    # Results 0.6 and 0.9: the cut-off stands two thirds of the way, at 0.8. With 0.1 below them it falls to 0.7.
    with_it, without = Search(4), Search(4)
    for search in (with_it, without):
        search.report(1, 1, 0.6)
        search.report(2, 1, 0.9)
    with_it.report(0, 1, 0.1)
    assert without.report(3, 1, 0.75) == STOP
    assert with_it.report(3, 1, 0.75) == CONTINUE


def test_an_interrupt_stops_every_trial_at_its_next_epoch() -> None:
    search = Search(3)
    assert search.report(1, 1, 0.5) == CONTINUE
    search.interrupted = True
    for index in range(3):
        assert search.report(index, 2, 0.9) == STOP
        assert search.reason(index) == "interrupted"


def test_a_trial_that_ends_by_itself_is_not_called_interrupted() -> None:
    search = Search(2)
    search.interrupted = True
    assert search.report(1, 9, 0.5, done=True) == STOP
    assert search.reason(1) is None
