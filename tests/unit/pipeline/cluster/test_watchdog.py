"""Tests of when the watchdog reports and when it is silent, and of what it says, with made-up tables of Ray."""

import queue
import threading
from collections.abc import Callable

import pytest

from pipeline.cluster.resource_holders import Claim, Node, ResourceTable
from pipeline.cluster.stall_report import MOST_LINES
from pipeline.cluster.watchdog import Watchdog
from pipeline.trials.records import EpochRecord, TrialRecord
from tests.deadline import DEADLINE
from tests.unit.pipeline.terminal.test_progress import epoch, spec

SOON = 0.05 / 60
"""In minutes."""
NODE = Node("10.0.0.1", {"CPU": 4}, {"CPU": 1.5})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Case:
    """A watchdog that reports after ten minutes, on a clock that the test moves."""

    def __init__(self, table: ResourceTable | None = None) -> None:
        self.clock, self.said = Clock(), list[str]()
        self.table = table or ResourceTable([NODE])
        self.watchdog = Watchdog(10, self.said.append, lambda: self.table, self.clock)

    def after(self, minutes: float) -> list[str]:
        """Lets this time pass; returns the reports that are then due, each as one text."""
        self.clock.now += minutes * 60
        before = len(self.said)
        self.watchdog.look()
        return self.said[before:]

    def report(self) -> list[str]:
        """Returns the lines of the report after ten more minutes, without their indentation."""
        (text,) = self.after(10)
        first, *rest = text.splitlines()
        assert all(line.startswith("  ") for line in rest)
        return [first, *(line[2:] for line in rest)]


NEWS: dict[str, Callable[[Watchdog], None]] = {
    "start": lambda watchdog: watchdog.trial_started(spec(1)),
    "epoch": lambda watchdog: watchdog.epoch_done(spec(0), epoch(2, 0.5)),
    "fused": lambda watchdog: watchdog.trials_fused([spec(0)]),
    "kept apart": lambda watchdog: watchdog.trial_kept_apart(spec(0)),
    "refusal": lambda watchdog: watchdog.checkpoint_refused(spec(0), "torn"),
    "end": lambda watchdog: watchdog.trial_ended(TrialRecord(spec(0), "asha", ())),
    "restored": lambda watchdog: watchdog.trial_restored(TrialRecord(spec(2), "finished", ())),
}


@pytest.mark.parametrize("kind", NEWS)
def test_any_news_keeps_it_silent(kind: str) -> None:
    case = Case()
    case.watchdog.trial_started(spec(0))
    for _ in range(5):
        assert case.after(9) == []
        NEWS[kind](case.watchdog)
    assert case.after(9.99) == []
    assert len(case.after(0.01)) == 1


def test_it_repeats_itself_each_period_until_there_is_news() -> None:
    case = Case()
    reported = [case.after(5) for _ in range(6)]
    assert [len(reports) for reports in reported] == [0, 1, 0, 1, 0, 1]
    assert [reports[0].partition(":")[0] for reports in reported if reports] == [
        f"nothing has progressed for {minutes} minutes" for minutes in (10, 20, 30)
    ]
    case.watchdog.trial_started(spec(0))
    assert case.after(9) == []
    assert case.after(1)[0].startswith("nothing has progressed for 10 minutes:")


def test_where_epochs_take_longer_than_its_time_it_waits_for_twice_the_longest() -> None:
    case = Case()
    for index in (0, 1):
        case.watchdog.trial_started(spec(index))
    for index, minutes in ((1, 7), (0, 5)):
        case.clock.now += minutes * 60
        case.watchdog.epoch_done(spec(index), EpochRecord(1, {"epoch_seconds": 12.0 * 60}))
    assert case.after(23.9) == []
    assert len(case.after(0.1)) == 1
    assert case.after(23.9) == []
    assert len(case.after(0.1)) == 1
    case.watchdog.trial_ended(TrialRecord(spec(0), "asha", ()))
    assert case.after(13.9) == []
    assert len(case.after(0.1)) == 1
    case.watchdog.trial_ended(TrialRecord(spec(1), "finished", ()))
    assert len(case.after(10)) == 1


def fused_epoch(case: Case, indices: list[int], seconds: float) -> None:
    """Reports the end of an epoch of trials that are trained as one, each with its share of the time."""
    for index in indices:
        case.watchdog.epoch_done(spec(index), EpochRecord(1, {"epoch_seconds": seconds / len(indices)}))


def test_an_epoch_of_trials_that_are_trained_as_one_takes_the_time_of_all_their_shares() -> None:
    case, together = Case(), [0, 1, 2, 3]
    for index in together:
        case.watchdog.trial_started(spec(index))
    case.clock.now += 180 * 60  # they had to wait for their process
    case.watchdog.trials_fused([spec(index) for index in together])
    case.clock.now += 12 * 60
    fused_epoch(case, together, 12 * 60)
    assert case.after(23.9) == []
    assert len(case.after(0.1)) == 1
    for index in together:
        case.watchdog.trial_kept_apart(spec(index))
    case.clock.now += 12 * 60
    fused_epoch(case, together, 12 * 60)
    assert len(case.after(10)) == 1


@pytest.mark.parametrize(("waited", "trained"), [(0, 12), (180, 4)])
def test_an_epoch_of_an_earlier_command_and_a_wait_before_one_do_not_make_it_wait(
    waited: float, trained: float
) -> None:
    case = Case()
    case.watchdog.trial_started(spec(0))
    case.clock.now += waited * 60
    case.watchdog.epoch_done(spec(0), EpochRecord(1, {"epoch_seconds": trained * 60}))
    assert len(case.after(10)) == 1


def test_it_sleeps_until_a_report_may_be_due() -> None:
    case = Case()
    assert case.watchdog.look() == 600
    case.clock.now += 200
    assert case.watchdog.look() == 400
    case.watchdog.trial_started(spec(0))
    assert case.watchdog.look() == 600
    case.clock.now += 600
    assert case.watchdog.look() == 600
    assert len(case.said) == 1


def test_news_that_comes_while_ray_is_asked_makes_the_report_void() -> None:
    case = Case()

    def read() -> ResourceTable:
        case.clock.now += 1
        case.watchdog.trial_started(spec(0))
        return ResourceTable()

    case.watchdog = Watchdog(10, case.said.append, read, case.clock)
    assert case.after(10) == []


def test_the_trials_that_are_under_way() -> None:
    case = Case()
    for index in range(4):
        case.watchdog.trial_started(spec(index))
    case.clock.now += 60
    case.watchdog.epoch_done(spec(1), epoch(3, 0.5))
    case.watchdog.epoch_done(spec(3), EpochRecord(30, {"epoch_seconds": 540.0}))
    case.clock.now += 60
    case.watchdog.trial_ended(TrialRecord(spec(2), "finished", ()))
    lines = case.report()
    assert lines[-3:] == [
        "trial 0 started 12 minutes ago, no epoch yet",
        "trial 1 ended epoch 3 of 30, 11 minutes ago",
        "trial 3 ended epoch 30 of 30, 11 minutes ago; that epoch took 9 minutes",
    ]
    assert Case().report()[-1] == "no trial is under way"


def test_the_whole_report() -> None:
    table = ResourceTable(
        nodes=[NODE, Node("10.0.0.2", {"CPU": 2, "GPU": 1}, {"GPU": 1})],
        held=[
            Claim("a trial, pid 11 on 10.0.0.1", ({"CPU": 0.5},)),
            Claim(
                "placement group ab on 10.0.0.1, 10.0.0.2 with no actor in it",
                ({"CPU": 1.0}, {"CPU": 1.0}, {"CPU": 2.0}),
            ),
            Claim("actor Holder 'x', pid 12 on 10.0.0.2", ({"CPU": 1, "node:10.0.0.2": 0.001},), driver="pid 9 on me"),
        ],
        waiting=[
            Claim("placement group cd", ({"CPU": 3},)),
            Claim("placement group ef", ({"CPU": 1, "memory": 8e9},) * 2, driver="pid 9 on me"),
            Claim("actor Empty (restarting)", ({},)),
        ],
        dead=["10.0.0.3: health check failed"],
        unread=["drivers: OSError: gone"],
    )
    assert Case(table).report() == [
        "nothing has progressed for 10 minutes: CPU 4.5 of 6 held, GPU 0 of 1 held, memory 0 B of 0 B held",
        "CPU 1 held by actor Holder 'x', pid 12 on 10.0.0.2, of another driver (pid 9 on me)",
        "CPU 0.5 held by a trial, pid 11 on 10.0.0.1",
        "2 x (CPU 1) + CPU 2 held by placement group ab on 10.0.0.1, 10.0.0.2 with no actor in it",
        "actor Empty (restarting) waits for no resource of its own",
        "placement group cd waits for CPU 3: too little of it is free",
        "placement group ef, of another driver (pid 9 on me) waits for 2 x (CPU 1, memory 8.0 GB): "
        "no node of this cluster could ever hold it",
        "dead node 10.0.0.3: health check failed",
        "could not be read: drivers: OSError: gone",
        "no trial is under way",
    ]


def test_a_large_cluster_does_not_flood_the_terminal() -> None:
    others = [Claim(f"actor {index:03}", ({"CPU": 1},), driver="pid 9 on me") for index in range(500)]
    mine = [Claim("mine", ({"CPU": 1},))]
    lines = Case(ResourceTable([NODE], held=[*mine, *others], waiting=[*others, *mine])).report()
    assert len(lines) == 1 + 2 * (MOST_LINES + 1) + 1
    assert lines[1].startswith("CPU 1 held by actor 000,")
    assert lines[MOST_LINES + 1] == "... and 481 more like these"
    assert lines[MOST_LINES + 2] == "mine waits for CPU 1: Ray reports enough free resources"


def test_nothing_waits() -> None:
    assert Case().report()[1:] == ["nothing waits for resources", "no trial is under way"]


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0.5 / 60, "0.5 seconds"), (1 / 60, "1 second"), (1.5, "90 seconds"), (2.5, "2.5 minutes"), (150, "2.5 hours")],
)
def test_how_long_ago(minutes: float, said: str) -> None:
    case = Case()
    case.watchdog = Watchdog(minutes, case.said.append, ResourceTable, case.clock)
    assert case.after(minutes)[0].splitlines()[0] == f"nothing has progressed for {said}"


def test_tables_that_cannot_be_read_leave_the_rest_of_the_report() -> None:
    def read() -> ResourceTable:
        raise ConnectionError("no control store")

    said: queue.Queue[str] = queue.Queue()
    with Watchdog(SOON, said.put, read) as watchdog:
        watchdog.trial_started(spec(0))
        for _ in range(2):
            lines = said.get(timeout=DEADLINE).splitlines()
            assert lines[0].startswith("nothing has progressed for ")
            assert lines[1] == "  could not be read: ConnectionError: no control store"
            assert lines[2].startswith("  trial 0 started ")


def test_a_ray_that_never_answers_holds_up_neither_the_reports_nor_the_end() -> None:
    forever = threading.Event()
    asked: list[threading.Thread] = []

    def read() -> ResourceTable:
        asked.append(threading.current_thread())
        forever.wait()
        return ResourceTable()

    said: queue.Queue[str] = queue.Queue()
    try:
        with Watchdog(SOON, said.put, read, patience=0.01):
            reports = [said.get(timeout=DEADLINE) for _ in range(3)]
        assert len(asked) == 1
        assert asked[0].is_alive() and asked[0].daemon
    finally:
        forever.set()
    assert "could not be read: Ray has not answered in 0.01 seconds" in reports[0]
    assert all("could not be read: Ray has not answered since the report before" in report for report in reports[1:])


def test_its_thread_reports_again_and_again_and_ends_with_the_context() -> None:
    said: queue.Queue[str] = queue.Queue()
    watchdog = Watchdog(SOON, said.put, ResourceTable)
    with watchdog:
        assert watchdog._thread.daemon
        for _ in range(3):
            assert said.get(timeout=DEADLINE).startswith("nothing has progressed")
    watchdog._thread.join(DEADLINE)
    assert not watchdog._thread.is_alive()


def test_a_report_that_is_not_ready_when_the_context_ends_is_not_given() -> None:
    asked, answer, said = threading.Event(), threading.Event(), list[str]()

    def read() -> ResourceTable:
        asked.set()
        answer.wait(DEADLINE)
        return ResourceTable()

    watchdog = Watchdog(SOON, said.append, read)
    with watchdog:
        assert asked.wait(DEADLINE)
    answer.set()
    watchdog._thread.join(DEADLINE)
    assert not watchdog._thread.is_alive()
    assert said == []


def test_it_may_be_told_to_wait_for_ever() -> None:
    with Watchdog(float("inf"), lambda text: None, ResourceTable) as watchdog:
        watchdog._thread.join(0.05)
        assert watchdog._thread.is_alive()
