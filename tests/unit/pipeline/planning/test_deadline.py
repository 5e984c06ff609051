"""Tests of when a search starts no further trial, and when it stops those that run, with made-up times."""

import pytest

from pipeline.config import Budget
from pipeline.planning.deadline import Deadline, FullLengthTrainings
from pipeline.trials.records import EpochRecord, Outcome, TrialRecord
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

BUDGET = Budget(seconds=1000, deadline=1000, trials=3, finalists_seconds=200, fixed_seconds=40)
UNPLANNED = Budget(seconds=1000, deadline=1000, trials=0, finalists_seconds=0, fixed_seconds=0)
FINAL_TRAININGS = FullLengthTrainings(finalists=2, seeds=3, at_once=2)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(
    index: int, accuracy: float, epoch_seconds: float, epochs: int = 2, outcome: Outcome = "asha"
) -> TrialRecord:
    """Returns a trial of ten epochs that ended after some of them."""
    metrics = {"val/accuracy": accuracy, "val/loss": 1.0, "epoch_seconds": epoch_seconds}
    spec = TrialSpec(index, ViTConfig(), Recipe(epochs=10), seed=0)
    return TrialRecord(spec, outcome, tuple(EpochRecord(number + 1, metrics) for number in range(epochs)))


def run(deadline: Deadline, clock: Clock, trial: TrialRecord, seconds: float) -> None:
    deadline.trial_started(trial.spec)
    clock.now += seconds
    deadline.trial_ended(trial)


def epoch_of(deadline: Deadline, clock: Clock, trial: TrialRecord, seconds: float) -> bool:
    """Lets a trial's next epoch take `seconds`; returns whether it continues, asked before the epoch is noted."""
    clock.now += seconds
    goes_on = deadline.leaves_time_to_go_on(trial.index)
    deadline.epoch_done(trial.spec, trial.epochs[0])
    return goes_on


def latest_beginning(deadline: Deadline, clock: Clock) -> float:
    """Returns the last whole second at which a trial may start."""
    may, may_not = 0, 1001
    while may_not - may > 1:
        clock.now = (may + may_not) // 2
        may, may_not = (int(clock.now), may_not) if deadline.leaves_time_to_begin() else (may, int(clock.now))
    return may


def test_at_first_the_finalists_take_what_was_planned() -> None:
    clock = Clock()
    assert latest_beginning(Deadline(BUDGET, FINAL_TRAININGS, clock), clock) == 1000 - 40 - 200


def test_a_dear_trial_among_the_first_does_not_keep_the_planned_ones_from_beginning() -> None:
    clock = Clock()
    deadline = Deadline(BUDGET, FINAL_TRAININGS, clock)
    run(deadline, clock, record(0, 0.9, epoch_seconds=1.0), seconds=100)
    run(deadline, clock, record(1, 0.1, epoch_seconds=30.0), seconds=10)
    assert latest_beginning(deadline, clock) == 1000 - 10 - 40 - 200
    run(deadline, clock, record(2, 0.2, epoch_seconds=1.0), seconds=10)
    # As many trials as were planned have now ended; trials 2 and 1 are the finalists. Their trainings take 10, 10, 10,
    # 300, 300 and 300 s, and are dealt out to two slots in turn.
    assert latest_beginning(deadline, clock) == 1000 - 10 - 40 - (10 + 300 + 300)


def test_the_finalists_of_the_moment_decide_what_is_still_to_come() -> None:
    clock = Clock()
    deadline = Deadline(BUDGET, FINAL_TRAININGS, clock)
    run(deadline, clock, record(0, 0.9, epoch_seconds=50.0), seconds=10)  # the published configuration is no finalist
    run(deadline, clock, record(1, 0.5, epoch_seconds=4.0), seconds=10)
    run(deadline, clock, record(2, 0.1, epoch_seconds=30.0), seconds=10)
    run(deadline, clock, record(3, 0.7, epoch_seconds=2.0), seconds=10)
    # A further trial takes 10 s. Trials 3 and 1 are then trained three times each, with ten epochs of 2 s and 4 s; the
    # trainings are dealt out to two slots in turn.
    assert latest_beginning(deadline, clock) == 1000 - 10 - 40 - (20 + 40 + 40)


def test_the_time_left_is_that_of_the_search_alone_and_none_where_no_trial_fits_in() -> None:
    clock = Clock()
    deadline = Deadline(BUDGET, FINAL_TRAININGS, clock)
    run(deadline, clock, record(1, 0.5, epoch_seconds=4.0), seconds=30)
    assert deadline.seconds_left() == 1000 - 30 - 40 - 200
    clock.now = 1000 - 40 - 200 - 29  # leaves a second less than that trial took
    assert deadline.seconds_left() == 0


def test_a_finalist_that_had_a_share_of_an_epochs_time_takes_what_was_planned() -> None:
    clock = Clock()
    deadline = Deadline(BUDGET, FINAL_TRAININGS, clock)
    deadline.trials_fused([record(index, 0.0, 0.0).spec for index in (2, 3)])
    run(deadline, clock, record(0, 0.9, epoch_seconds=50.0), seconds=10)
    run(deadline, clock, record(1, 0.5, epoch_seconds=4.0), seconds=10)
    run(deadline, clock, record(2, 0.4, epoch_seconds=1.0), seconds=10)
    run(deadline, clock, record(3, 0.7, epoch_seconds=2.0), seconds=10)
    assert latest_beginning(deadline, clock) == 1000 - 10 - 40 - 200  # not 20 + 40 + 40, computed from the epochs


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_what_cannot_be_a_finalist_takes_none_of_the_time(outcome: Outcome) -> None:
    clock = Clock()
    deadline = Deadline(UNPLANNED, FINAL_TRAININGS, clock)
    run(deadline, clock, record(1, 0.5, epoch_seconds=4.0), seconds=10)
    run(deadline, clock, record(2, 0.9, epoch_seconds=50.0, outcome=outcome), seconds=10)
    # A further trial takes 10 s. Then only trial 1 is trained, three times, with ten epochs of 4 s, in two slots.
    assert latest_beginning(deadline, clock) == 1000 - 10 - 2 * 40


def test_a_further_trial_is_taken_for_one_of_the_longer_ones() -> None:
    clock = Clock()
    deadline = Deadline(UNPLANNED, FullLengthTrainings(1, 1, 1), clock)
    for index, seconds in enumerate((10, 20, 30, 40, 110), start=1):
        run(deadline, clock, record(index, 0.5, epoch_seconds=0.0), seconds)
    assert latest_beginning(deadline, clock) == 1000 - 54  # numpy's 0.8 quantile, between 40 and 110


def test_more_places_than_trainings_help_no_further() -> None:
    clock = Clock()
    deadline = Deadline(UNPLANNED, FullLengthTrainings(1, 2, 8), clock)
    deadline.trial_restored(record(1, 0.5, epoch_seconds=10.0))
    # The trial took 20 s in an earlier command; its two trainings of 100 s run at the same time.
    assert latest_beginning(deadline, clock) == 1000 - 20 - 100


@pytest.mark.parametrize(
    ("seeds", "at_once", "seconds"),
    [
        (2, 4, 300),  # each in a slot of its own
        (2, 3, 300 + 60),  # by slot: 300 and 60; 300; 60
        (2, 2, 300 + 60),
        (2, 1, 300 + 300 + 60 + 60),
        (3, 2, 300 + 300 + 60),  # by slot: 300, 300 and 60; 300, 60 and 60
    ],
)
def test_the_finalists_take_as_long_as_the_fullest_slot(seeds: int, at_once: int, seconds: float) -> None:
    """Trainings are dealt out before they start: a slot that is done does not take over those of another."""
    clock = Clock()
    deadline = Deadline(UNPLANNED, FullLengthTrainings(2, seeds, at_once), clock)
    run(deadline, clock, record(1, 0.5, epoch_seconds=30.0), seconds=10)
    run(deadline, clock, record(2, 0.4, epoch_seconds=6.0), seconds=10)
    assert latest_beginning(deadline, clock) == 1000 - 10 - seconds


def test_a_trial_goes_on_while_there_is_time_for_another_epoch_like_its_last() -> None:
    clock = Clock()
    deadline = Deadline(BUDGET, FINAL_TRAININGS, clock)
    trial = record(1, 0.5, epoch_seconds=1.0)
    clock.now = 460
    deadline.trial_started(trial.spec)
    # The search has time until 1000 - 40 - 200 = 760 s: at 660 s, another epoch of 100 s still fits; at 711 s, another
    # epoch of 51 s does not.
    assert epoch_of(deadline, clock, trial, 100)
    assert epoch_of(deadline, clock, trial, 100)
    assert clock.now == 660
    assert not epoch_of(deadline, clock, trial, 51)


def test_a_trial_that_cannot_be_stopped_before_its_next_rung_needs_the_time_for_all_epochs_until_then() -> None:
    clock = Clock()
    deadline = Deadline(BUDGET, FINAL_TRAININGS, clock)
    trial = record(1, 0.5, epoch_seconds=1.0)
    deadline.trial_started(trial.spec)
    clock.now = 460
    deadline.epoch_done(trial.spec, trial.epochs[0])
    clock.now = 560  # an epoch took 100 s, and the search has time until 760 s
    assert deadline.leaves_time_to_go_on(trial.index, epochs=2)
    assert not deadline.leaves_time_to_go_on(trial.index, epochs=3)
    assert deadline.leaves_time_to_begin()  # the search is not over: other trials may need less


def test_once_a_trial_has_to_stop_the_search_is_over_for_all() -> None:
    clock = Clock()
    deadline = Deadline(BUDGET, FINAL_TRAININGS, clock)
    slow, fast = (record(index, 0.5, epoch_seconds=1.0) for index in (1, 2))
    deadline.trial_started(slow.spec)
    clock.now = 400
    deadline.trial_started(fast.spec)
    assert not epoch_of(deadline, clock, slow, 100)  # its epoch took 500 s, and 260 s are left
    assert not epoch_of(deadline, clock, fast, 1)
    deadline.trial_ended(slow)
    deadline.trial_ended(fast)
    assert not deadline.leaves_time_to_begin()
    assert deadline.seconds_left() == 0


def test_a_running_trial_counts_as_the_finalist_that_it_would_be() -> None:
    clock = Clock()
    deadline = Deadline(UNPLANNED, FullLengthTrainings(1, 1, 1), clock)
    run(deadline, clock, record(1, 0.5, epoch_seconds=2.0), seconds=10)
    assert latest_beginning(deadline, clock) == 1000 - 10 - 20
    better = record(2, 0.6, epoch_seconds=30.0)
    deadline.trial_started(better.spec)
    assert latest_beginning(deadline, clock) == 1000 - 10 - 20  # it has completed no epoch yet
    clock.now = 10
    assert epoch_of(deadline, clock, better, 30)
    assert latest_beginning(deadline, clock) == 1000 - 10 - 300
    # Its full-length training will take 300 s. After its next epoch, of 30 s, there is no time for another one.
    clock.now = 1000 - 300 - 30
    assert not epoch_of(deadline, clock, better, 30)


@pytest.mark.parametrize("late", [0.0, 1e6])
def test_a_search_that_is_late_begins_nothing(late: float) -> None:
    clock = Clock()
    clock.now = 1000 + late
    assert not Deadline(BUDGET, FINAL_TRAININGS, clock).leaves_time_to_begin()
