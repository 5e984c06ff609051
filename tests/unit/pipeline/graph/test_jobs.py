"""Tests that jobs run in threads at the same time, and that every end is reported, whatever it is."""

import threading

import pytest

from pipeline.graph.jobs import Jobs

PATIENCE = 20
"""The most seconds that a job waits for something that must happen."""


def test_what_a_job_gives_is_reported_with_its_name() -> None:
    jobs = Jobs[int]()
    jobs.start("six", lambda: 6)
    assert jobs.next_end() == ("six", 6)


def test_jobs_run_side_by_side() -> None:
    jobs, all_here = Jobs[str](), threading.Barrier(3)
    for name in ("a", "b", "c"):
        jobs.start(name, lambda: str(all_here.wait(PATIENCE)))
    ends = dict(jobs.next_end() for _ in range(3))
    assert set(ends) == {"a", "b", "c"}
    assert {str(end) for end in ends.values()} == {"0", "1", "2"}  # the place of each job at the barrier


def test_ends_are_reported_in_the_order_in_which_they_come() -> None:
    jobs, may_end = Jobs[bool](), threading.Event()
    jobs.start("first begun", lambda: may_end.wait(PATIENCE))
    jobs.start("first ended", lambda: False)
    assert jobs.next_end() == ("first ended", False)
    may_end.set()
    assert jobs.next_end() == ("first begun", True)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_a_job_raises_is_its_end(error: BaseException) -> None:
    def fail() -> None:
        raise error

    jobs = Jobs[None]()
    jobs.start("it", fail)
    name, end = jobs.next_end()
    assert name == "it"
    assert end is error


def test_nobody_waits_for_a_job_at_the_programs_end() -> None:
    jobs = Jobs[tuple[str, bool]]()
    jobs.start("it", lambda: (threading.current_thread().name, threading.current_thread().daemon))
    assert jobs.next_end() == ("it", ("it", True))
