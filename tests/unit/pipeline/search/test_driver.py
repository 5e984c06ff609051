"""Tests of what the search driver writes to ledgers and records, and tells its observers, on Tune's events."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from pipeline.search.driver import SearchDriver, SearchLimits
from pipeline.search.reports import waiting_report
from pipeline.search.tune_adapters import StopsOnceNothingRuns, TrialEvents
from pipeline.trials.folder import TrialHistory, TrialLedger, trial_folder
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord, TrialRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

SPEC = TrialSpec(0, ViTConfig(), Recipe(epochs=2), seed=0)
TRIAL = SimpleNamespace(trial_id="0", config={"trial": SPEC.to_dict()}, status="ERROR", ERROR="ERROR")
EPOCH: dict[str, Any] = {"epoch": 1, "at": 0, "metrics": {"val/accuracy": 0.5, "val/loss": 1.0}, "refused": []}


class NotingObserver(Observer):
    def __init__(self) -> None:
        self.news: list[str] = []

    def trial_started(self, spec: TrialSpec) -> None:
        self.news.append("started")

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        self.news.append(f"epoch {epoch.number}")

    def trial_ended(self, record: TrialRecord) -> None:
        self.news.append(record.outcome)


class Search:
    """A search put together as `run_search` does it, but without Ray."""

    def __init__(self, folder: Path) -> None:
        self.observer, self._folder, self.interrupted = NotingObserver(), str(folder), False
        ledger, limits = Ledger(self._folder, [SPEC]), SearchLimits(lambda: 1)
        self.driver = SearchDriver([SPEC], Rungs.of(2, 1, 2), ledger, [self.observer], limits, lambda: self.interrupted)
        self.events = TrialEvents(self.driver)

    def tell(self, event: str, **more: Any) -> None:
        getattr(self.events, f"on_trial_{event}")(0, [], TRIAL, **more)

    @property
    def ledger(self) -> TrialLedger | None:
        return TrialLedger.read(trial_folder(self._folder, 0))


def test_an_end_that_cannot_be_written_down_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next driver resumes the trial, so its state must be kept, and its run must not say that it has ended."""

    def full(*anything: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/trial.json")

    search = Search(tmp_path)
    search.tell("start")
    search.tell("result", result=EPOCH)
    monkeypatch.setattr(TrialLedger, "write", full)
    search.tell("complete")
    assert search.observer.news == ["started", "epoch 1", "interrupted"]
    assert [record.outcome for record in search.driver.records] == ["interrupted"]
    assert search.driver.storage_failure == "no space left: /data/trial.json: make room, and run the same command again"
    assert search.driver.has_no_more_trials
    assert search.ledger is not None and search.ledger.outcome is None


def test_what_the_budget_stops_counts_and_may_be_taken_up_again(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.tell("start")
    search.driver._outcomes[0] = ("budget", None)
    search.tell("result", result=EPOCH)
    search.tell("complete")
    (record,) = search.driver.records
    assert (record.outcome, [epoch.number for epoch in record.epochs]) == ("budget", [1])
    assert search.ledger is not None and search.ledger.outcome is None
    again = Search(tmp_path)
    assert not again.driver.has_no_more_trials
    assert again.driver.next_trial() == SPEC


def test_a_trial_whose_process_never_came_up_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRIAL, "get_error", lambda: "Traceback:\nthe actor was cancelled\n", raising=False)
    search = Search(tmp_path)
    search.tell("error")
    assert search.observer.news == ["started", "failed"]
    assert search.ledger is not None
    assert (search.ledger.outcome, search.ledger.error) == ("failed", "the actor was cancelled")


def test_who_wants_to_stop_waits_for_what_runs_and_for_nothing_else(tmp_path: Path) -> None:
    search = Search(tmp_path)
    stopper = StopsOnceNothingRuns(search.driver, search.events)
    search.tell("start")
    assert not stopper.stop_all()
    search.interrupted = True
    assert not stopper.stop_all()
    search.tell("recover")  # its process died, and it now waits for another one
    assert stopper.stop_all()
    search.driver.end_the_rest()
    assert search.observer.news == ["started", "interrupted"]
    assert search.ledger is not None and search.ledger.outcome is None


def test_a_trial_that_has_begun_and_finds_no_time_to_go_on_ends_by_the_budget(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.tell("start")
    search.driver.end_the_rest()
    search.driver.end_the_rest()
    assert search.observer.news == ["started", "budget"]


@pytest.mark.parametrize(("stops", "outcome"), [(False, "budget"), (True, "interrupted")])
def test_a_trial_of_an_earlier_command_that_is_not_continued_ends_with_what_it_has(
    tmp_path: Path, stops: bool, outcome: str
) -> None:
    killed = Search(tmp_path)
    killed.tell("start")
    history = TrialHistory()
    history.add(1, at=0, metrics=EPOCH["metrics"])
    history.write(trial_folder(str(tmp_path), 0))
    again = Search(tmp_path)
    again.interrupted = stops
    again.driver.end_the_rest()
    assert again.observer.news == ["started", "epoch 1", outcome]
    ((epoch,),) = (record.epochs for record in again.driver.records)
    assert (epoch.number, epoch.accuracy) == (1, 0.5)
    assert again.ledger is not None and again.ledger.outcome is None


def test_a_trial_without_workers_waits_for_them_until_the_user_wants_to_stop(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.tell("start")
    for goes_on in (True, False):
        search.interrupted = not goes_on
        assert search.driver.goes_on(0, waiting_report(0)) == goes_on
        search.tell("result", result=waiting_report(0))
    search.tell("complete")
    assert search.observer.news == ["started", "interrupted"]
