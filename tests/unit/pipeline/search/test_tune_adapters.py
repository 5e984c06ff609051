"""Tests that trials are handed out in order, as long as there are slots and time."""

from uuid import uuid4

from ray.tune.search import Searcher

from pipeline.search.driver import SearchDriver, SearchLimits
from pipeline.search.tune_adapters import InOrderSearcher
from pipeline.trials.ledger import Ledger
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

SPECS = [TrialSpec(index, ViTConfig(), Recipe(), seed=index) for index in range(4)]


class Search:
    """A search whose limits a test can change."""

    def __init__(self) -> None:
        self.slots, self.leaves_time, self.interrupted = 4, True, False
        limits = SearchLimits(lambda: self.slots, lambda: self.leaves_time)
        ledger = Ledger(f"memory://{uuid4()}/trials", SPECS)
        driver = SearchDriver(SPECS, Rungs(1, 3, 9), ledger, [], limits, lambda: self.interrupted)
        self._searcher = InOrderSearcher(driver)

    def ask(self, trial_id: str) -> int | str | None:
        """Returns the index of the trial that is handed out, or the searcher's answer if none is."""
        answer = self._searcher.suggest(trial_id)
        return answer["trial"]["index"] if isinstance(answer, dict) else answer

    def end(self, trial_id: str) -> None:
        self._searcher.on_trial_complete(trial_id)


def test_in_order_to_the_end() -> None:
    search = Search()
    assert [search.ask(name) for name in "abcde"] == [0, 1, 2, 3, Searcher.FINISHED]


def test_a_slot_that_something_else_holds_is_given_when_it_is_free() -> None:
    search = Search()
    search.slots = 1
    assert [search.ask("a"), search.ask("b"), search.ask("b")] == [0, None, None]
    search.slots = 2  # the training beside the search has ended
    assert [search.ask("b"), search.ask("c")] == [1, None]
    search.end("a")
    assert [search.ask("c"), search.ask("d")] == [2, None]


def test_without_time_the_search_ends_though_trials_wait() -> None:
    search = Search()
    assert search.ask("a") == 0
    search.leaves_time = False
    assert search.ask("b") == Searcher.FINISHED


def test_an_interrupted_search_begins_no_more() -> None:
    search = Search()
    search.interrupted = True
    assert search.ask("a") == Searcher.FINISHED


def test_the_published_configuration_begins_whatever_time_is_left() -> None:
    """The stages after the search need it, and an earlier command may already have ended all the other trials."""
    search = Search()
    search.leaves_time = False
    assert [search.ask("a"), search.ask("b")] == [0, Searcher.FINISHED]
