"""Tests of how the time of a search was spent, against times worked out by hand."""

from dataclasses import replace

import pytest

from pipeline.page.blocks import NotRecordedError
from pipeline.page.recorded_trials import RecordedEpoch, RecordedTrial
from pipeline.page.run_sections import time_spent
from pipeline.page.time_use import Segment, lanes_of, refuse_incomplete_times, segments_of, totals_of, training_seconds
from tests.unit.pipeline.page.sweep_of_all import records, sweep_summary


def trial(index: int, started: float, ended: float, *epochs: tuple[float, float, float]) -> RecordedTrial:
    """Returns a trial; each epoch is given by its end, its seconds, and its seconds of training."""
    recorded = [
        RecordedEpoch(number, 0.5, 100.0, seconds, trained, end)
        for number, (end, seconds, trained) in enumerate(epochs, start=1)
    ]
    return RecordedTrial(index, started, ended, tuple(recorded))


def test_what_a_trial_did_when() -> None:
    """It starts for 3 s, trains and validates for 4 + 1 s and 5 + 1 s, a second apart, and ends after 0.5 s more."""
    found = segments_of(trial(7, 100.0, 115.5, (108.0, 5.0, 4.0), (115.0, 6.0, 5.0)))
    assert [(each.phase, each.begin, each.end) for each in found] == [
        ("starting", 100.0, 103.0), ("training", 103.0, 107.0), ("validating", 107.0, 108.0),
        ("saving and reporting", 108.0, 109.0), ("training", 109.0, 114.0), ("validating", 114.0, 115.0),
        ("saving and reporting", 115.0, 115.5),
    ]  # fmt: skip


def test_a_trial_without_an_epoch_only_started() -> None:
    assert segments_of(trial(1, 10.0, 12.0)) == [Segment(1, "starting", 10.0, 12.0)]


def test_clocks_that_disagree_make_no_time_run_backwards() -> None:
    """By the worker's clock, the first epoch ended before the trial started, and the second began after its end."""
    found = segments_of(trial(1, 10.0, 20.0, (9.0, 4.0, 3.0), (25.0, 4.0, 3.0)))
    assert all(each.seconds > 0 for each in found)
    assert (found[0].begin, found[-1].end) == (10.0, 20.0)
    assert [a.end for a in found[:-1]] == [b.begin for b in found[1:]]


def test_slots_are_as_few_as_the_trials_need() -> None:
    trials = [trial(0, 0, 10), trial(1, 0, 4), trial(2, 4, 9), trial(3, 9, 12), trial(4, 10, 11)]
    assert [[each.index for each in lane] for lane in lanes_of(trials)] == [[0, 4], [1, 2, 3]]


def test_the_totals_are_all_slots_time() -> None:
    trials = [trial(0, 0.0, 10.0, (9.0, 8.0, 7.0)), trial(1, 4.0, 8.0, (8.0, 3.0, 2.5))]
    totals = totals_of(trials, slots=2)
    assert totals == pytest.approx(
        {"starting": 2.0, "training": 9.5, "validating": 1.5, "saving and reporting": 1.0, "no trial": 6.0}
    )
    assert sum(totals.values()) == 2 * 10.0


FIRST, SECOND = trial(0, 0.0, 10.0, (9.0, 8.0, 7.0)), trial(1, 4.0, 8.0, (8.0, 3.0, 2.5))


# The trials span 10 s. A search of 9.5 s is shorter, but by no more than the times that clocks give may disagree.
@pytest.mark.parametrize("search_seconds", [9.5, 12.0])
def test_a_search_of_one_command_is_told(search_seconds: float) -> None:
    refuse_incomplete_times([FIRST, SECOND], search_seconds)


@pytest.mark.parametrize(
    ("trials", "search_seconds", "reason"),
    [
        ([FIRST, SECOND], None, "the search ran in an earlier command, and on how many slots is not recorded"),
        ([FIRST, replace(SECOND, together=2)], 12.0, "trials were trained as one (--fuse), and each of them"),
        ([FIRST, replace(SECOND, started=8.5)], 12.0, "some trials' runs were recorded again later"),
        # The second trial trained its second epoch on the next morning.
        ([FIRST, trial(1, 4.0, 40_004.0, (8.0, 3.0, 2.5), (40_003.0, 3.0, 2.5))], 8.0, "the search was resumed"),
    ],
    ids=["cached", "fused", "recorded again", "resumed"],
)
def test_records_that_do_not_tell_what_the_slots_did_are_refused(
    trials: list[RecordedTrial], search_seconds: float | None, reason: str
) -> None:
    with pytest.raises(NotRecordedError) as refused:
        refuse_incomplete_times(trials, search_seconds)
    assert str(refused.value).startswith(reason)


def test_the_page_leaves_the_section_out_where_the_search_was_cached() -> None:
    summary = sweep_summary()
    assert time_spent(records(summary))
    del summary["seconds"]["stages"]["search"]
    with pytest.raises(NotRecordedError, match="the search ran in an earlier command"):
        time_spent(records(summary))


def test_an_epoch_trains_on_whole_batches() -> None:
    assert training_seconds(1000, 64, 96.0) == 15 * 64 / 96
    assert training_seconds(50, 64, 10.0) == 5.0
