"""Tests what is shown while trials run: plain lines on a pipe, a live view on a terminal."""

import io
import re
import time

import pytest
from rich.console import Console

from pipeline.terminal.durations import clock_text
from pipeline.terminal.progress import Progress
from pipeline.trials.records import EpochRecord, Outcome, TrialRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

RUNGS = Rungs(1, 3, 9)


def spec(index: int) -> TrialSpec:
    return TrialSpec(index, ViTConfig(), Recipe(), seed=0)


def epoch(number: int, accuracy: float) -> EpochRecord:
    return EpochRecord(number, {"val/accuracy": accuracy, "val/loss": 1.25})


def run_trial(shown: Progress, index: int, accuracies: list[float], outcome: Outcome, error: str | None = None) -> None:
    shown.trial_started(spec(index))
    epochs = tuple(epoch(number, accuracy) for number, accuracy in enumerate(accuracies, start=1))
    for each in epochs:
        shown.epoch_done(spec(index), each)
    shown.trial_ended(TrialRecord(spec(index), outcome, epochs, error))


def test_a_pipe_gets_plain_lines_with_all_that_counts() -> None:
    file = io.StringIO()
    with Progress(Console(file=file, width=400), trials=4, rungs=RUNGS) as shown:
        run_trial(shown, 0, [0.5] * 9, "finished")
        run_trial(shown, 1, [0.1], "asha")
        run_trial(shown, 2, [0.2, 0.7, 0.6], "asha")
        shown.trial_started(spec(3))
    assert re.fullmatch(
        r"3/4 trials ended \(2 asha, 1 finished\) \| 1 running \| trials by rung 1:3 3:2 9:1 \| "
        r"best 70\.00% \(trial 2\) \| 0:00 elapsed, about 0:00 left\n",
        file.getvalue(),
    )


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_a_trial_that_diverged_or_failed_is_not_the_best(outcome: Outcome) -> None:
    file = io.StringIO()
    with Progress(Console(file=file, width=400), trials=2, rungs=RUNGS) as shown:
        run_trial(shown, 0, [0.5] * 9, "finished")
        run_trial(shown, 1, [0.9], outcome)
    assert "best 50.00% (trial 0)" in file.getvalue()


def test_a_pipe_gets_a_line_every_few_seconds_and_not_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    file = io.StringIO()
    with Progress(Console(file=file, width=400), trials=1, rungs=RUNGS) as shown:
        shown.trial_started(spec(0))
        for number in range(1, 8):
            clock += 4.0
            shown.epoch_done(spec(0), epoch(number, 0.5))
    lines = file.getvalue().splitlines()
    assert ["0:12 elapsed" in lines[0], "0:24 elapsed" in lines[1], "0:28 elapsed" in lines[2]] == [True] * 3
    assert len(lines) == 3
    # The one trial is expected to take 9 epochs, and half of a running trial counts as left: 4.5 epochs of 4 seconds.
    assert "about 0:18 left" in lines[0]


def test_before_the_first_epoch_and_at_the_end() -> None:
    file = io.StringIO()
    with Progress(Console(file=file, width=400), trials=1, rungs=RUNGS) as shown:
        shown.trial_started(spec(0))
    assert "0/1 trials ended | 1 running | trials by rung 1:0 3:0 9:0 | no epoch yet" in file.getvalue()
    assert "expected time not known yet" in file.getvalue()
    file = io.StringIO()
    with Progress(Console(file=file, width=400), trials=1, rungs=RUNGS) as shown:
        run_trial(shown, 0, [0.5], "interrupted")
    assert file.getvalue().endswith("elapsed, done\n")


def test_within_a_budget_it_lasts_no_longer_than_that_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, budget = 1000.0, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    progress = Progress(Console(), trials=32, rungs=RUNGS, budget_seconds=lambda: budget)
    run_trial(progress, 0, [0.5] * 9, "finished")
    progress.trial_started(spec(1))
    clock, budget = 1090.0, 60.0
    assert progress._status().startswith("1 of up to 32 trials ended (1 finished) | 1 running")
    assert progress._status().endswith("1:30 elapsed, about 1:00 left")
    budget = 10_000.0  # enough for all trials
    expected = RUNGS.expected_epochs(32) / 32 * 10  # the expected seconds of a trial
    assert progress._status().endswith(f"about {clock_text(expected * 30.5)} left")
    budget = 0.0  # no further trial begins
    assert progress._status().endswith(f"about {clock_text(expected / 2)} left")
    progress.trial_ended(TrialRecord(spec(1), "asha", ()))
    assert progress._status().endswith("elapsed, done")


@pytest.mark.parametrize("error", ["RuntimeError: [enforce fail at alloc.cpp:9] :x:", "OSError: [/data] [bold]"])
def test_an_error_is_shown_as_it_is(error: str) -> None:
    file = io.StringIO()
    with Progress(Console(file=file, width=400), trials=1, rungs=RUNGS) as shown:
        run_trial(shown, 0, [], "failed", error)
    assert file.getvalue().splitlines()[0] == f"trial 0 failed: {error}"


def test_lines_are_whole_and_have_no_control_characters_on_a_narrow_pipe() -> None:
    file = io.StringIO()
    with Progress(Console(file=file, width=40), trials=1, rungs=RUNGS) as shown:
        run_trial(shown, 0, [0.5], "finished")
    [line] = file.getvalue().splitlines()
    assert all(character.isprintable() for character in line)


def test_a_terminal_gets_a_row_for_each_running_trial() -> None:
    file = io.StringIO()
    console = Console(file=file, width=150, force_terminal=True)
    with Progress(console, trials=3, rungs=RUNGS) as shown:
        run_trial(shown, 0, [0.5], "asha")
        shown.trial_started(spec(1))
        shown.trial_started(spec(2))
        shown.epoch_done(spec(2), epoch(4, 0.625))
        console.print(shown._view())
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    rows = [line.split() for line in text.splitlines()]
    assert ["1", "starting"] in rows
    assert ["2", "4/9", "62.50%", "1.2500"] in rows
    assert text.splitlines()[-1].startswith("1/3 trials ended (1 asha) | 2 running")


def test_of_many_running_trials_the_first_are_shown_and_the_rest_counted() -> None:
    progress = Progress(Console(), 1000, Rungs(1, 3, 9))
    for index in range(1000):
        progress.trial_started(TrialSpec(index, ViTConfig(), Recipe(), seed=0))
    table = progress._view()
    assert table.row_count == 21
    assert list(table.columns[1].cells)[-1] == "and 980 more"


def test_it_is_told_which_trials_are_trained_as_one_and_which_the_memory_keeps_apart() -> None:
    file = io.StringIO()
    with Progress(Console(file=file, width=400), trials=3, rungs=RUNGS) as shown:
        shown.trials_fused([spec(1), spec(2)])
        shown.trial_kept_apart(spec(1))
    assert file.getvalue().splitlines()[:2] == [
        "fused: trials 1, 2",
        "not fused: trial 1 is trained alone",
    ]
