"""Tests that a graph runs its stages at the same time, as far as its inputs, failures and the user allow."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.graph.graph import Graph, GraphResults
from pipeline.graph.stage import Stage
from tests.unit.pipeline.graph.graphs import CHAIN, DIAMOND, graph

PATIENCE = 20
"""The most seconds that a test waits for something that must happen."""


class Work:
    """Executes stages: most of them immediately, those in `waits` after a wait; those in `failing` raise an error."""

    def __init__(self, *failing: str) -> None:
        self.begun: list[str] = []
        self.given: dict[str, dict[str, Any]] = {}
        self.failing = failing
        self.waits: dict[str, Callable[[], object]] = {}

    def __call__(self, stage: Stage, inputs: dict[str, Any]) -> str:
        self.begun.append(stage.name)
        self.given[stage.name] = inputs
        self.waits.get(stage.name, bool)()
        if stage.name in self.failing:
            raise OSError(f"{stage.name} broke")
        return stage.name.upper()

    def run(
        self, stages: Graph, known: Mapping[str, Any] | None = None, stop: Callable[[], bool] = lambda: False
    ) -> GraphResults:
        return stages.run(self, known or {}, stop)


def awaited(event: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        assert event.wait(PATIENCE), "what was waited for never came"

    return wait


def test_outputs_are_handed_on_by_name() -> None:
    work = Work()
    results = work.run(graph(DIAMOND))
    assert results == GraphResults({name: name.upper() for name in DIAMOND})
    assert work.given == {name: {each: each.upper() for each in read} for name, read in DIAMOND.items()}
    assert sorted(work.begun) == sorted(DIAMOND)


def test_a_graph_without_stages_gives_nothing() -> None:
    assert Work().run(graph({})) == GraphResults()


def test_stages_that_do_not_wait_for_each_other_run_side_by_side() -> None:
    work, both = Work(), threading.Barrier(2)
    work.waits = dict.fromkeys("bc", lambda: both.wait(PATIENCE))
    results = work.run(CHAIN)
    assert (results.failures, set(results.outputs)) == ({}, set("abcd"))


def test_what_rests_on_a_cached_branch_begins_while_another_still_runs() -> None:
    work, begun = Work(), threading.Event()
    work.waits = {"slow": awaited(begun), "reader": begun.set}
    stages = graph({"cached": (), "slow": (), "reader": ("cached",), "last": ("reader", "slow")})
    results = work.run(stages, {"cached": "from before"})
    assert (results.failures, results.skipped) == ({}, {})
    assert work.given["reader"] == {"cached": "from before"}
    assert results.outputs["cached"] == "from before"
    assert "cached" not in work.begun


def test_what_is_known_is_not_run() -> None:
    work = Work()
    results = work.run(CHAIN, dict(zip("abcd", range(4), strict=True)))
    assert work.begun == []
    assert results == GraphResults({"a": 0, "b": 1, "c": 2, "d": 3})


def test_an_output_of_none_is_an_output() -> None:
    results = graph({"a": (), "b": ("a",)}).run(lambda stage, inputs: None, {}, lambda: False)
    assert results == GraphResults({"a": None, "b": None})


def test_a_failure_takes_along_what_rests_on_it_and_nothing_else() -> None:
    work = Work("b")
    stages = graph({"a": (), "b": ("a",), "c": ("b",), "d": ("c", "x"), "x": (), "y": ("x",)})
    results = work.run(stages)
    assert set(results.outputs) == {"a", "x", "y"}
    assert {name: str(error) for name, error in results.failures.items()} == {"b": "b broke"}
    assert isinstance(results.failures["b"], OSError)
    assert results.skipped == {"c": "b", "d": "b"}
    assert set(work.begun) == {"a", "b", "x", "y"}


def test_what_runs_beside_a_failure_comes_to_its_end_and_goes_on() -> None:
    work, failed = Work("bad"), threading.Event()
    stages = graph({"bad": (), "after bad": ("bad",), "good": (), "after good": ("good",)})

    def fail(stage: Stage, inputs: dict[str, Any]) -> str:
        try:
            return work(stage, inputs)
        finally:
            if stage.name == "bad":
                failed.set()

    work.waits = {"good": awaited(failed)}
    results = stages.run(fail, {}, lambda: False)
    assert results.outputs == {"good": "GOOD", "after good": "AFTER GOOD"}
    assert results.skipped == {"after bad": "bad"}


def test_each_of_two_failures_keeps_what_rests_on_it() -> None:
    stages = graph({"a": (), "b": (), "of a": ("a",), "of b": ("b",)})
    results = Work("a", "b").run(stages)
    assert {name: str(error) for name, error in results.failures.items()} == {"a": "a broke", "b": "b broke"}
    assert results.skipped == {"of a": "a", "of b": "b"}
    assert results.outputs == {}


def test_failures_stand_in_the_graphs_order() -> None:
    work, failed = Work("first", "last"), threading.Event()

    def fail(stage: Stage, inputs: dict[str, Any]) -> str:
        try:
            return work(stage, inputs)
        finally:
            if stage.name == "last":
                failed.set()

    work.waits = {"first": awaited(failed)}
    assert list(graph({"first": (), "last": ()}).run(fail, {}, lambda: False).failures) == ["first", "last"]


def test_once_stopped_no_stage_begins_and_those_under_way_end() -> None:
    work, stopped = Work(), threading.Event()
    stages = graph({"a": (), "b": (), "of a": ("a",), "of b": ("b",), "last": ("of a", "of b")})
    work.waits = {"a": awaited(stopped), "b": stopped.set}
    results = work.run(stages, stop=stopped.is_set)
    assert sorted(work.begun) == ["a", "b"]
    assert results == GraphResults({"a": "A", "b": "B"})  # the others never began: they neither failed nor were skipped


def test_who_stops_before_the_beginning_still_has_what_is_known() -> None:
    work = Work()
    results = work.run(CHAIN, {"a": 1, "b": 2}, lambda: True)
    assert work.begun == []
    assert results == GraphResults({"a": 1, "b": 2})
