"""ASHA's ladder by hand and against Ray's own; trial 0 is never stopped early; decisions outlive the driver."""

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from pipeline.exits import UsageError
from pipeline.search import Limits, _Asha, _Here
from pipeline.trials.ledger import Ledger
from pipeline.trials.rungs import Decision, Rungs
from tune_spaces.space import TrialSpec
from vit.model import ViTConfig
from vit.recipes import Recipe

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
LADDER = Rungs(1, 3, 9)


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
    """The real scheduler, fed by hand, over a real ledger; another one over the same folder takes over."""

    def __init__(self, trials: int, folder: str | None = None) -> None:
        self.interrupted = False
        self.folder = folder or f"memory://{uuid4()}/trials"
        specs = [TrialSpec(index, ViTConfig(), Recipe(), seed=index) for index in range(trials)]
        self.ledger = Ledger(self.folder, specs)
        self.here = _Here([], lambda: self.interrupted, Limits(lambda: 1), self.ledger)
        self.asha = _Asha(LADDER, self.here)
        self.asha.replay(self.ledger)
        self.trials = [FakeTrial(index) for index in range(trials)]
        for spec, each in zip(specs, self.trials, strict=True):
            self.ledger.started(spec)
            self.asha.on_trial_add(None, each)

    def report(self, index: int, epoch: int, accuracy: float, **more: Any) -> str:
        result = {"epoch": epoch, "val/accuracy": accuracy, **more}
        return self.asha.on_trial_result(None, self.trials[index], result)

    def reason(self, index: int) -> str | None:
        return self.asha.reasons.get(self.trials[index].trial_id)

    @property
    def entered(self) -> list[dict[int, float]]:
        """What stands on each rung, by trial."""
        return [dict(recorded) for _, recorded in self.asha._brackets[0]._rungs]

    @property
    def decided(self) -> dict[int, tuple[Decision, ...]]:
        return {trial.index: self.ledger.decisions(trial.index) for trial in self.trials}


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


# --- decisions outlive the driver ---

Told = tuple[int, int, float]
"""Trial, epoch, accuracy."""
TRIALS, AT_ONCE = 24, 4


def run(chance: random.Random, report: Callable[[int, int, float], bool], reached: dict[int, int]) -> list[Told]:
    """Runs trials, a few at once, each to its end or until `report` says no; gives what was told, in order.

    `reached` holds the epochs that trials have done, and is kept up to date.
    """
    told: list[Told] = []
    running: list[int] = []
    waiting = list(range(TRIALS))
    while running or waiting:
        while waiting and len(running) < AT_ONCE:
            running.append(waiting.pop(0))
        index = chance.choice(running)
        epoch, accuracy = reached.get(index, 0) + 1, chance.randrange(20) / 20  # some are equal
        told.append((index, epoch, accuracy))
        reached[index] = epoch
        if not report(index, epoch, accuracy):
            running.remove(index)
    return told


def tell(search: Search, told: Told) -> bool:
    index, epoch, accuracy = told
    return search.report(index, epoch, accuracy, done=epoch == LADDER.max_epochs) == CONTINUE


@pytest.mark.parametrize("seed", range(10))
def test_all_but_trial_0_are_decided_as_rays_scheduler_does_it(seed: int) -> None:
    search, rays = Search(TRIALS), rays_scheduler()
    others = [FakeTrial(index) for index in range(TRIALS)]
    for each in others:
        rays.on_trial_add(None, each)
    spared = []

    def report(index: int, epoch: int, accuracy: float) -> bool:
        ours = tell(search, (index, epoch, accuracy))
        theirs = rays.on_trial_result(None, others[index], {"epoch": epoch, "val/accuracy": accuracy}) == CONTINUE
        if index != 0:
            assert ours == theirs, (index, epoch)
        else:
            assert ours == (epoch < LADDER.max_epochs)
            spared.append(ours != theirs)
        return ours

    told = run(random.Random(seed), report, {})
    assert len(spared) == LADDER.max_epochs
    assert TRIALS < len(told) < TRIALS * LADDER.max_epochs  # some went on, some did not


def rays_scheduler() -> Any:
    return AsyncHyperBandScheduler(
        time_attr="epoch", metric="val/accuracy", mode="max", max_t=LADDER.max_epochs,
        grace_period=LADDER.grace_epochs, reduction_factor=LADDER.reduction_factor,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_driver_that_takes_over_decides_as_one_that_lived_on(seed: int) -> None:
    chance = random.Random(seed)
    undisturbed = Search(TRIALS)
    answers: list[bool] = []

    def report(index: int, epoch: int, accuracy: float) -> bool:
        answers.append(tell(undisturbed, (index, epoch, accuracy)))
        return answers[-1]

    told = run(chance, report, {})
    killed_at = chance.randrange(len(told))
    first = Search(TRIALS)
    assert [tell(first, each) for each in told[:killed_at]] == answers[:killed_at]
    second = Search(TRIALS, first.folder)
    assert second.entered == first.entered
    tell_again(second, told[:killed_at], answers, chance)
    assert second.entered == first.entered
    assert [tell(second, each) for each in told[killed_at:]] == answers[killed_at:]
    assert second.entered == undisturbed.entered
    assert second.decided == undisturbed.decided == Search(TRIALS, first.folder).decided


def tell_again(search: Search, told: list[Told], answers: list[bool], chance: random.Random) -> None:
    """What trials do whose process was taken over: each from its first epoch, some with other figures than before."""
    before = list(zip(told, answers, strict=False))
    for index in chance.sample(range(TRIALS), TRIALS):
        for (_, epoch, accuracy), answer in (entry for entry in before if entry[0][0] == index):
            if epoch in LADDER.epochs:
                assert tell(search, (index, epoch, chance.choice([accuracy, 0.0, 1.0]))) == answer


def test_a_decision_is_on_disk_before_it_takes_effect() -> None:
    search = Search(3)
    for index, accuracy, go_on in ((1, 0.5, True), (2, 0.4, False), (0, 0.1, True)):
        assert search.report(index, 1, accuracy) == (CONTINUE if go_on else STOP)
        (written,) = Search(3, search.folder).ledger.decisions(index)
        assert (written.epoch, written.accuracy, written.go_on) == (1, accuracy, go_on)
    search.report(1, 2, 0.9)
    assert len(Search(3, search.folder).ledger.decisions(1)) == 1  # no rung, no decision


def test_a_decision_tells_cut_off_and_rank_by_hand() -> None:
    search = Search(4)
    for index, accuracy in ((1, 0.5), (2, 0.4), (3, 0.6), (0, 0.1)):
        search.report(index, 1, accuracy)
    told = {index: decision for index, (decision,) in search.decided.items()}
    assert {index: (each.epoch, each.accuracy, each.rank, each.of, each.go_on) for index, each in told.items()} == {
        1: (1, 0.5, 1, 1, True), 2: (1, 0.4, 2, 2, False), 3: (1, 0.6, 1, 3, True), 0: (1, 0.1, 4, 4, True),
    }  # fmt: skip
    # Two thirds of the way up those before: 0.5 alone; from 0.4 to 0.5; a third of the way from 0.5 to 0.6.
    assert told[1].cutoff is None
    assert [told[index].cutoff for index in (2, 3, 0)] == pytest.approx([0.5, 0.4 + 0.2 / 3, 0.5 + 0.1 / 3])


def by_hand(told: list[Told]) -> dict[int, tuple[Decision, ...]]:
    """The decisions of each trial, from the accuracies told at a rung before it."""
    before: dict[int, list[float]] = {epoch: [] for epoch in LADDER.epochs}
    decided: dict[int, tuple[Decision, ...]] = {index: () for index in range(TRIALS)}
    for index, epoch, accuracy in told:
        if epoch not in before:
            continue
        others = before[epoch]
        cutoff = float(np.nanpercentile(others, 100 * (1 - 1 / LADDER.reduction_factor))) if others else None
        rank = 1 + sum(other > accuracy for other in others)
        go_on = index == 0 or cutoff is None or accuracy >= cutoff
        decided[index] += (Decision(epoch, accuracy, cutoff, rank, len(others) + 1, go_on),)
        others.append(accuracy)
    return decided


@pytest.mark.parametrize("seed", range(5))
def test_decisions_tell_cut_off_and_rank_also_after_a_replay(seed: int) -> None:
    chance, first = random.Random(seed), Search(TRIALS)
    told = run(chance, lambda *each: tell(first, each), {})
    assert first.decided == by_hand(told)
    replayed = Search(TRIALS)
    killed_at = chance.randrange(1, len(told))
    for each in told[:killed_at]:
        tell(replayed, each)
    replayed = Search(TRIALS, replayed.folder)
    for each in told[killed_at:]:
        tell(replayed, each)
    assert replayed.decided == by_hand(told)


@pytest.mark.parametrize("outcome", ["failed", "interrupted"])
def test_a_trial_that_broke_off_does_not_stand_on_the_rung(outcome: str) -> None:
    search = Search(3)
    assert search.report(1, 1, 0.0, ended={"outcome": outcome, "error": "why"}, done=True) == STOP
    assert search.entered[-1] == {}
    assert search.report(1, 1, 0.6) == CONTINUE  # another process took it up


def test_a_trial_that_diverged_stands_on_the_rung_as_the_worst() -> None:
    search = Search(3)
    assert search.report(1, 1, 0.6) == CONTINUE
    assert search.report(2, 1, 0.0, ended={"outcome": "diverged", "error": "why"}, done=True) == STOP
    assert search.entered[-1] == {1: 0.6, 2: 0.0}
    assert search.reason(2) is None  # it ended by itself


def test_a_full_disk_ends_the_search_in_good_order(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(3)

    def full(*decision: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Ledger, "decided", full)
    assert search.report(1, 1, 0.6) == STOP
    assert search.report(2, 2, 0.6) == STOP
    assert (search.reason(1), search.reason(2)) == ("interrupted", "interrupted")
    assert search.here.disk_full == "no space left: make room, and run the same command again"
    monkeypatch.undo()
    assert search.decided == {0: (), 1: (), 2: ()}  # nothing was decided that is not written


def test_another_trouble_with_the_folder_is_no_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*decision: Any) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Ledger, "decided", refuse)
    with pytest.raises(PermissionError, match="not yours"):
        Search(2).report(1, 1, 0.6)
