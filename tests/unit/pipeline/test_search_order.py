"""Trials are handed out in their order, as far as there are places and time."""

from ray.tune.search import Searcher

from pipeline.search import Limits, _Here, _InOrder
from tune_spaces.space import TrialSpec
from vit.model import ViTConfig
from vit.recipes import Recipe

SPECS = [TrialSpec(index, ViTConfig(), Recipe(), seed=index) for index in range(4)]


class Search:
    """A search whose limits a test moves."""

    def __init__(self) -> None:
        self.places, self.may_begin, self.interrupted = 4, True, False
        limits = Limits(lambda: self.places, lambda: self.may_begin)
        self._order = _InOrder(SPECS, _Here([], lambda: self.interrupted, limits, None))

    def ask(self, trial_id: str) -> int | str | None:
        """The trial handed out, or what was said instead."""
        answer = self._order.suggest(trial_id)
        return answer["trial"]["index"] if isinstance(answer, dict) else answer

    def end(self, trial_id: str) -> None:
        self._order.on_trial_complete(trial_id)


def test_in_order_to_the_end() -> None:
    search = Search()
    assert [search.ask(name) for name in "abcde"] == [0, 1, 2, 3, Searcher.FINISHED]


def test_a_place_that_something_else_holds_is_given_when_it_is_free() -> None:
    search = Search()
    search.places = 1
    assert [search.ask("a"), search.ask("b"), search.ask("b")] == [0, None, None]
    search.places = 2  # what trained beside the search is over
    assert [search.ask("b"), search.ask("c")] == [1, None]
    search.end("a")
    assert [search.ask("c"), search.ask("d")] == [2, None]


def test_without_time_the_search_ends_though_trials_wait() -> None:
    search = Search()
    assert search.ask("a") == 0
    search.may_begin = False
    assert search.ask("b") == Searcher.FINISHED


def test_an_interrupted_search_begins_no_more() -> None:
    search = Search()
    search.interrupted = True
    assert search.ask("a") == Searcher.FINISHED
