"""Tests of ASHA's decisions: by hand, against Ray's (except on trial 0), and after a new driver has taken over."""

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from pipeline.search.driver import SearchDriver, SearchLimits
from pipeline.search.tune_adapters import AshaScheduler
from pipeline.trials.folder import TrialLedger
from pipeline.trials.ledger import Ledger
from pipeline.trials.rungs import Decision, Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.files.errors import StorageError
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
LADDER = Rungs(1, 3, 9)


@dataclass
class FakeTrial:
    """The part of Tune's trial that a scheduler reads."""

    index: int
    trial_id: str = field(init=False)
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.trial_id, self.config = f"t{self.index}", {"trial": {"index": self.index}}


class Search:
    """The real scheduler and ledger, with made-up reports; a second one over the same folder resumes the search."""

    def __init__(self, trials: int, folder: str | None = None) -> None:
        self.interrupted, self.has_time = False, True
        self.folder = folder or f"memory://{uuid4()}/trials"
        specs = [TrialSpec(index, ViTConfig(), Recipe(), seed=index) for index in range(trials)]
        self.ledger = Ledger(self.folder, specs)
        limits = SearchLimits(lambda: 1, may_go_on=lambda index, epochs: self.has_time)
        self.driver = SearchDriver(specs, LADDER, self.ledger, [], limits, lambda: self.interrupted)
        self.scheduler = AshaScheduler(self.driver)
        self.trials = [FakeTrial(index) for index in range(trials)]
        for spec in specs:
            self.ledger.started(spec)

    def report(self, index: int, epoch: int, accuracy: float, **more: Any) -> str:
        result = {"epoch": epoch, "val/accuracy": accuracy, "pauses": True, "next_leg": 1, **more}
        return self.scheduler.on_trial_result(None, self.trials[index], result)

    def report_end(self, index: int, epoch: int, outcome: str) -> None:
        """Reports the end of a trial as Tune does: only to its callbacks, without asking the scheduler."""
        ended = {"outcome": outcome, "error": "why"}
        self.driver.note_report(index, {"epoch": epoch, "val/accuracy": 0.0, "ended": ended, "done": True})

    def reason(self, index: int) -> str | None:
        return self.driver._outcomes.get(index, (None, None))[0]

    @property
    def entered(self) -> list[list[float]]:
        """The sorted accuracies on each rung, the lowest rung first."""
        return [self.driver._asha._rungs[epoch]._sorted for epoch in LADDER.epochs]

    @property
    def decided(self) -> dict[int, tuple[Decision, ...]]:
        return {trial.index: self.ledger.decisions(trial.index) for trial in self.trials}


def test_a_trial_below_the_cut_off_stops_and_one_above_goes_on() -> None:
    search = Search(4)
    assert search.report(1, 1, 0.5) == CONTINUE  # the first trial on a rung always continues
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
    assert search.report(2, 1, 0.0) == STOP  # any other trial with the same result is stopped


def test_trial_0_counts_on_the_rungs() -> None:
    with_it, without = Search(2), Search(2)
    with_it.report(0, 1, 0.8)
    assert with_it.report(1, 1, 0.5) == STOP
    assert without.report(1, 1, 0.5) == CONTINUE


def test_a_weak_trial_0_counts_on_the_rungs_as_well() -> None:
    # The cut-off lies two thirds of the way from 0.6 to 0.9, at 0.8; a further result of 0.1 lowers it to 0.7.
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


def test_without_time_every_trial_but_the_published_one_stops_at_its_next_epoch() -> None:
    search = Search(4)
    assert search.report(1, 1, 0.5) == CONTINUE
    search.has_time = False
    assert search.report(1, 2, 0.5, pauses=False) == CONTINUE  # its process has already trained it further
    assert search.report(1, 3, 0.5) == STOP
    assert search.report(2, 1, 0.4) == STOP
    assert search.report(3, 9, 0.9, done=True) == STOP
    assert [search.reason(index) for index in (1, 2, 3)] == ["budget", "asha", None]
    assert search.report(0, 1, 0.1) == CONTINUE


def test_a_trial_that_ends_by_itself_is_not_called_interrupted() -> None:
    search = Search(2)
    search.interrupted = True
    assert search.report(1, 9, 0.5, done=True) == STOP
    assert search.reason(1) is None


# --- decisions outlive the driver ---

Reported = tuple[int, int, float]
"""The index of a trial, an epoch, and the accuracy that was reported for it."""
TRIALS, AT_ONCE = 24, 4


def run(chance: random.Random, report: Callable[[int, int, float], bool], reached: dict[int, int]) -> list[Reported]:
    """Runs trials, `AT_ONCE` at the same time, each until `report` returns False; returns all reports in order.

    `reached` holds the number of epochs that each trial has completed, and is kept up to date.
    """
    reported: list[Reported] = []
    running: list[int] = []
    waiting = list(range(TRIALS))
    while running or waiting:
        while waiting and len(running) < AT_ONCE:
            running.append(waiting.pop(0))
        index = chance.choice(running)
        epoch, accuracy = reached.get(index, 0) + 1, chance.randrange(20) / 20  # some are equal
        reported.append((index, epoch, accuracy))
        reached[index] = epoch
        if not report(index, epoch, accuracy):
            running.remove(index)
    return reported


def report_to(search: Search, reported: Reported) -> bool:
    index, epoch, accuracy = reported
    return search.report(index, epoch, accuracy, done=epoch == LADDER.max_epochs) == CONTINUE


@pytest.mark.parametrize("seed", range(10))
def test_all_but_trial_0_are_decided_as_rays_scheduler_does_it(seed: int) -> None:
    search, rays = Search(TRIALS), rays_scheduler()
    others = [FakeTrial(index) for index in range(TRIALS)]
    for each in others:
        rays.on_trial_add(None, each)
    spared = []

    def report(index: int, epoch: int, accuracy: float) -> bool:
        ours = report_to(search, (index, epoch, accuracy))
        theirs = rays.on_trial_result(None, others[index], {"epoch": epoch, "val/accuracy": accuracy}) == CONTINUE
        if index != 0:
            assert ours == theirs, (index, epoch)
        else:
            assert ours == (epoch < LADDER.max_epochs)
            spared.append(ours != theirs)
        return ours

    reported = run(random.Random(seed), report, {})
    assert len(spared) == LADDER.max_epochs
    assert TRIALS < len(reported) < TRIALS * LADDER.max_epochs  # some trials continued, and some did not


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
        answers.append(report_to(undisturbed, (index, epoch, accuracy)))
        return answers[-1]

    reported = run(chance, report, {})
    killed_at = chance.randrange(len(reported))
    first = Search(TRIALS)
    assert [report_to(first, each) for each in reported[:killed_at]] == answers[:killed_at]
    second = Search(TRIALS, first.folder)
    assert second.entered == first.entered
    report_again_to(second, reported[:killed_at], answers, chance)
    assert second.entered == first.entered
    assert [report_to(second, each) for each in reported[killed_at:]] == answers[killed_at:]
    assert second.entered == undisturbed.entered
    assert second.decided == undisturbed.decided == Search(TRIALS, first.folder).decided


def report_again_to(search: Search, reported: list[Reported], answers: list[bool], chance: random.Random) -> None:
    """Reports the rungs again as resumed trials do, some with other accuracies, and checks that no answer changes."""
    before = list(zip(reported, answers, strict=False))
    for index in chance.sample(range(TRIALS), TRIALS):
        for (_, epoch, accuracy), answer in (entry for entry in before if entry[0][0] == index):
            if epoch in LADDER.epochs:
                assert report_to(search, (index, epoch, chance.choice([accuracy, 0.0, 1.0]))) == answer


def test_a_decision_is_on_disk_before_it_takes_effect() -> None:
    search = Search(3)
    for index, accuracy, go_on in ((1, 0.5, True), (2, 0.4, False), (0, 0.1, True)):
        assert search.report(index, 1, accuracy) == (CONTINUE if go_on else STOP)
        (written,) = Search(3, search.folder).ledger.decisions(index)
        assert (written.epoch, written.accuracy, written.go_on) == (1, accuracy, go_on)
    search.report(1, 2, 0.9)
    assert len(Search(3, search.folder).ledger.decisions(1)) == 1  # epoch 2 is not a rung


def test_a_decision_tells_cut_off_and_rank_by_hand() -> None:
    search = Search(4)
    for index, accuracy in ((1, 0.5), (2, 0.4), (3, 0.6), (0, 0.1)):
        search.report(index, 1, accuracy)
    reported = {index: decision for index, (decision,) in search.decided.items()}
    assert {index: (each.epoch, each.accuracy, each.rank, each.of, each.go_on) for index, each in reported.items()} == {
        1: (1, 0.5, 1, 1, True), 2: (1, 0.4, 2, 2, False), 3: (1, 0.6, 1, 3, True), 0: (1, 0.1, 4, 4, True),
    }  # fmt: skip
    # The cut-off lies two thirds of the way up the results before: at 0.5, the only one; two thirds of the way from
    # 0.4 to 0.5; and, of three results, a third of the way from 0.5 to 0.6.
    assert reported[1].cutoff is None
    assert [reported[index].cutoff for index in (2, 3, 0)] == pytest.approx([0.5, 0.4 + 0.2 / 3, 0.5 + 0.1 / 3])


def by_hand(reported: list[Reported]) -> dict[int, tuple[Decision, ...]]:
    """Returns each trial's decisions, worked out from the accuracies that were reported at the rung before its own."""
    before: dict[int, list[float]] = {epoch: [] for epoch in LADDER.epochs}
    decided: dict[int, tuple[Decision, ...]] = {index: () for index in range(TRIALS)}
    for index, epoch, accuracy in reported:
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
    reported = run(chance, lambda *each: report_to(first, each), {})
    assert first.decided == by_hand(reported)
    replayed = Search(TRIALS)
    killed_at = chance.randrange(1, len(reported))
    for each in reported[:killed_at]:
        report_to(replayed, each)
    replayed = Search(TRIALS, replayed.folder)
    for each in reported[killed_at:]:
        report_to(replayed, each)
    assert replayed.decided == by_hand(reported)


@pytest.mark.parametrize("outcome", ["failed", "interrupted"])
def test_a_trial_that_broke_off_does_not_stand_on_the_rung(outcome: str) -> None:
    search = Search(3)
    search.report_end(1, 1, outcome)
    assert search.entered[0] == []
    assert search.report(1, 1, 0.6) == CONTINUE  # another process resumed it


def test_a_trial_that_diverged_stands_on_the_rung_as_the_worst() -> None:
    search = Search(3)
    assert search.report(1, 1, 0.6) == CONTINUE
    search.report_end(2, 1, "diverged")
    assert search.entered[0] == [0.0, 0.6]
    assert search.reason(2) == "diverged"  # ASHA did not stop it


@pytest.mark.parametrize(("epoch", "rungs"), [(1, [1]), (2, [3]), (3, [3]), (4, []), (9, [])])
def test_a_trial_that_diverged_stands_on_the_next_rung_that_it_would_have_come_to(epoch: int, rungs: list[int]) -> None:
    """This holds whether or not others have reached the rung, and also for trial 0: no diverged trial continues."""
    search = Search(3)
    for index in (0, 2):
        search.report_end(index, epoch, "diverged")
        search.report_end(index, epoch, "diverged")  # reported again after a restart
        decided = [(each.epoch, each.accuracy, each.go_on) for each in search.decided[index]]
        assert decided == [(rung, 0.0, False) for rung in rungs]
    assert [each.of for each in search.decided[2]] == [2 for _ in rungs]
    assert Search(3, search.folder).entered == search.entered


def test_a_full_disk_ends_the_search_in_good_order(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(3)

    def full(*ledger: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TrialLedger, "write", full)
    assert search.report(1, 1, 0.6) == STOP
    assert search.report(2, 2, 0.6) == STOP
    assert (search.reason(1), search.reason(2)) == ("interrupted", "interrupted")
    assert search.driver.storage_failure == "no space left: make room, and run the same command again"
    monkeypatch.undo()
    # A decision that was not written does not count for the next driver.
    assert Search(3, search.folder).decided == {0: (), 1: (), 2: ()}


def test_so_does_an_object_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(3)

    def away(*ledger: Any) -> None:
        raise StorageError("s3://sweeps/trial.json: Could not connect to the endpoint URL")

    monkeypatch.setattr(TrialLedger, "write", away)
    assert (search.report(1, 1, 0.6), search.reason(1)) == (STOP, "interrupted")
    assert search.driver.storage_failure == (
        "s3://sweeps/trial.json: Could not connect to the endpoint URL (all that was saved is there; run the same "
        "command again once the storage answers)"
    )


def test_another_trouble_with_the_folder_is_no_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*decision: Any) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Ledger, "decided", refuse)
    with pytest.raises(PermissionError, match="not yours"):
        Search(2).report(1, 1, 0.6)
