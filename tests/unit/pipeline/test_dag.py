"""Graphs from adjacency dicts: their shape, what decides an output, which stages run and why, and running them."""

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.dag import Graph, GraphError, Identity, Remembered, Results, Stage

ROOT = Path(__file__).parents[3]
DIAMOND = {"f": ("d", "e"), "e": ("a",), "d": ("b", "c"), "c": ("a",), "b": ("a",), "a": ()}
PATIENCE = 20
"""Seconds that a test waits for what must come."""


def nothing(**inputs: Any) -> None:
    """A stage's work that never runs."""


def graph(inputs: Mapping[str, tuple[str, ...]]) -> Graph:
    return Graph([Stage(name, read, nothing, str) for name, read in inputs.items()])


# Its shape


@pytest.mark.parametrize(
    ("inputs", "order"),
    [
        ({}, ()),
        ({"a": ()}, ("a",)),
        ({"c": ("b",), "b": ("a",), "a": ()}, ("a", "b", "c")),
        ({"d": ("a", "c"), "c": ("b",), "b": ("a",), "a": ()}, ("a", "b", "c", "d")),
    ],
)
def test_chains_have_one_order(inputs: dict[str, tuple[str, ...]], order: tuple[str, ...]) -> None:
    assert graph(inputs).order == order
    assert tuple(stage.name for stage in graph(inputs)) == order


def test_every_input_comes_before_its_reader() -> None:
    order = graph(DIAMOND).order
    assert sorted(order) == sorted(DIAMOND)
    for name, read in DIAMOND.items():
        assert all(order.index(each) < order.index(name) for each in read)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({"a": ("a",)}, {"a"}),
        ({"top": (), "left": ("right", "top"), "right": ("left",)}, {"left", "right"}),
    ],
)
def test_a_cycle_names_its_stages(inputs: dict[str, tuple[str, ...]], names: set[str]) -> None:
    with pytest.raises(GraphError, match="wait for each other") as refused:
        graph(inputs)
    assert set(str(refused.value).partition(": ")[2].split(" -> ")) == names


def test_a_missing_input_names_reader_and_input() -> None:
    with pytest.raises(GraphError, match=r"^stage 'b' reads 'x', which no stage gives$"):
        graph({"a": (), "b": ("a", "x")})


def test_a_name_given_twice_is_refused() -> None:
    stage = Stage("a", (), nothing, str)
    with pytest.raises(GraphError, match=r"^stage 'a' is declared twice$"):
        Graph([replace(stage, name="b"), stage, stage])


def test_a_stage_is_found_by_its_name() -> None:
    assert graph(DIAMOND)["d"].inputs == ("b", "c")
    with pytest.raises(GraphError, match=r"^'x' is no stage; the stages are a, b$"):
        graph({"a": (), "b": ("a",)})["x"]


def test_what_a_stage_rests_on_and_what_rests_on_it() -> None:
    stages = graph(DIAMOND)
    assert [stages.ancestors(name) for name in "adf"] == [set(), {"a", "b", "c"}, set("abcde")]
    assert [stages.after(name) for name in "fba"] == [{"f"}, {"b", "d", "f"}, set("abcdef")]
    assert [sorted(stages.until(name).order) for name in "ad"] == [["a"], ["a", "b", "c", "d"]]
    assert stages.until("d")["d"] is stages["d"]


# What decides an output

ABOUT = Identity({"trials": 32, "seed": 0}, {"vit.fit": "1111", "vit.model": "2222"}, {"prepare": "3333"})


@pytest.mark.parametrize(
    "other",
    [
        replace(ABOUT, reads={"trials": 33, "seed": 0}),
        replace(ABOUT, reads={"trials": 32}),
        replace(ABOUT, reads={"trials": "32", "seed": 0}),
        replace(ABOUT, code={"vit.fit": "1111", "vit.model": "2223"}),
        replace(ABOUT, inputs={"prepare": "3334"}),
        Identity(ABOUT.code, ABOUT.reads, ABOUT.inputs),  # type: ignore[arg-type]
    ],
)
def test_another_reading_code_or_input_is_another_fingerprint(other: Identity) -> None:
    assert other.fingerprint != ABOUT.fingerprint


def test_the_order_of_names_is_not_in_the_fingerprint() -> None:
    turned = Identity({"seed": 0, "trials": 32}, {"vit.model": "2222", "vit.fit": "1111"}, ABOUT.inputs)
    assert turned.fingerprint == ABOUT.fingerprint


def test_fingerprints_are_the_same_in_another_process() -> None:
    program = f"from pipeline.dag import Identity; print({ABOUT!r}.fingerprint)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == ABOUT.fingerprint, done.stderr
    assert len(ABOUT.fingerprint) == 16 and int(ABOUT.fingerprint, 16) >= 0


def test_a_change_reaches_all_that_rests_on_it_and_nothing_else() -> None:
    before = graph(DIAMOND)
    after = Graph(replace(stage, reads={"x": 1}) if stage.name == "b" else stage for stage in before)
    old, new = before.identities(), after.identities()
    assert {name for name in DIAMOND if old[name].fingerprint != new[name].fingerprint} == before.after("b")
    assert new["d"].inputs == {"b": new["b"].fingerprint, "c": old["c"].fingerprint}


# Which stages run, and why

NOW = 1_700_000_000.0


@dataclass
class Kept:
    """A memory in a dict: what has finished, by stage and fingerprint, the newest last."""

    runs: dict[tuple[str, str], Remembered] = field(default_factory=dict)
    mine: set[str] = field(default_factory=set)
    """Stages that this very command has finished."""
    asked: dict[str, bool] = field(default_factory=dict)
    """By stage, whether only its own counted."""

    def find(self, stage: Stage, fingerprint: str, own: bool) -> Remembered | None:
        self.asked[stage.name] = own
        return None if own and stage.name not in self.mine else self.runs.get((stage.name, fingerprint))

    def latest(self, stage: Stage) -> Identity | None:
        return next((run.identity for (name, _), run in reversed(self.runs.items()) if name == stage.name), None)

    def finish(self, stages: Graph, *names: str, seconds_ago: float = 150) -> "Kept":
        """Enters stages as finished; the output of each is its own name."""
        identities = stages.identities()
        for name in names or stages.order:
            identity = identities[name]
            run = Remembered(f"{name * 8}-rest", NOW - seconds_ago, identity, name)
            self.runs[name, identity.fingerprint] = run
        return self


def changed(stages: Graph, name: str, **change: Any) -> Graph:
    return Graph(replace(stage, **change) if stage.name == name else stage for stage in stages)


def reasons(stages: Graph, memory: Kept, forced: Mapping[str, str] | None = None) -> dict[str, str]:
    return {name: verdict.reason for name, verdict in stages.plan(memory, forced or {}, NOW).items()}


CHAIN = Graph(
    [
        Stage(
            "a", (), nothing, str, {"learning-rate range": "1e-4..1e-2", "trials": 32}, {"vit.fit": "1", "vit.m": "2"}
        ),
        Stage("b", ("a",), nothing, str, {"seeds": 2}),
        Stage("c", ("a",), nothing, str),
        Stage("d", ("b", "c"), nothing, str),
    ]
)


def test_nothing_has_finished_before() -> None:
    assert reasons(CHAIN, Kept()) == {
        "a": "run, because it has not finished before",
        "b": "run, because a runs",
        "c": "run, because a runs",
        "d": "run, because a runs",
    }


def test_a_hit_names_its_run_and_its_age() -> None:
    memory = Kept().finish(CHAIN)
    verdicts = CHAIN.plan(memory, {}, NOW)
    assert [verdict.reason for verdict in verdicts.values()] == [
        f"cached from run {name * 8} (2 minutes ago)" for name in "abcd"
    ]
    assert [verdict.hit.output for verdict in verdicts.values() if verdict.hit] == ["a", "b", "c", "d"]
    assert tuple(verdicts) == CHAIN.order
    assert memory.asked == dict.fromkeys("abcd", False)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "just now"), (0, "just now"), (59.9, "just now"), (60, "1 minute ago"), (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (7200, "2 hours ago"), (86399, "23 hours ago"), (86400, "1 day ago"), (9 * 86400, "9 days ago"),
    ],
)  # fmt: skip
def test_ages_in_words(seconds: float, told: str) -> None:
    stages = graph({"a": ()})
    assert reasons(stages, Kept().finish(stages, seconds_ago=seconds)) == {"a": f"cached from run aaaaaaaa ({told})"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"reads": {"learning-rate range": "1e-4..3e-3", "trials": 32}},
            "learning-rate range changed (1e-4..1e-2 -> 1e-4..3e-3)",
        ),
        (
            {"reads": {"learning-rate range": "1e-4..3e-3", "trials": 48}},
            "learning-rate range changed (1e-4..1e-2 -> 1e-4..3e-3) and trials changed (32 -> 48)",
        ),
        ({"reads": {"learning-rate range": "1e-4..1e-2"}}, "trials changed (32 -> unset)"),
        (
            {"reads": {"learning-rate range": "1e-4..1e-2", "trials": 32, "depth range": "2, 4"}},
            "depth range changed (unset -> 2, 4)",
        ),
        ({"code": {"vit.fit": "1", "vit.m": "3"}}, "its code changed (vit.m)"),
        ({"code": {"vit.fit": "1"}}, "its code changed (vit.m)"),
        ({"code": {"vit.fit": "9", "vit.m": "9", "vit.new": "9"}}, "its code changed (vit.fit, vit.m, vit.new)"),
        (
            {"reads": {"learning-rate range": "1e-4..1e-2", "trials": 8}, "code": {"vit.fit": "9", "vit.m": "2"}},
            "trials changed (32 -> 8) and its code changed (vit.fit)",
        ),
    ],
)
def test_what_changed_is_named(change: dict[str, Any], reason: str) -> None:
    found = reasons(changed(CHAIN, "a", **change), Kept().finish(CHAIN))
    assert found["a"] == f"run, because {reason}"
    assert found["d"] == "run, because a runs"


def test_each_stage_that_makes_another_one_run_is_named() -> None:
    found = reasons(changed(changed(CHAIN, "b", reads={"seeds": 3}), "c", reads={"x": 1}), Kept().finish(CHAIN))
    assert found["d"] == "run, because b and c run"


def test_an_input_that_is_another_is_named() -> None:
    memory = Kept().finish(CHAIN)
    other = changed(CHAIN, "a", reads={"trials": 8})
    memory.finish(other, "a")  # by another command, which got no further
    found = reasons(other, memory)
    assert found["a"] == "cached from run aaaaaaaa (2 minutes ago)"
    assert found["b"] == found["c"] == "run, because a is another"


def test_the_newest_run_of_a_stage_is_what_a_change_is_told_against() -> None:
    memory = Kept()
    for trials in (8, 16):
        memory.finish(changed(CHAIN, "a", reads={"trials": trials}))
    found = reasons(changed(CHAIN, "a", reads={"trials": 32}), memory)
    assert found["a"] == "run, because trials changed (16 -> 32)"


def test_earlier_work_counts_whatever_came_after_it() -> None:
    memory = Kept().finish(CHAIN).finish(changed(CHAIN, "a", reads={"trials": 8}))
    assert {reason.partition(" ")[0] for reason in reasons(CHAIN, memory).values()} == {"cached"}


def test_what_an_output_refers_to_and_is_gone_is_named() -> None:
    asked: list[str] = []

    def missing(output: str) -> str:
        asked.append(output)
        return "checkpoint/config.json of run 12345678"

    found = reasons(changed(CHAIN, "b", missing=missing), Kept().finish(CHAIN))
    assert found["b"] == "run, because checkpoint/config.json of run 12345678 is gone"
    assert found["d"] == "run, because b runs"
    assert found["c"].startswith("cached")
    assert asked == ["b"]


@pytest.mark.parametrize(("flag", "first"), [("--no-cache", "a"), ("--from b", "b")])
def test_a_forced_stage_counts_only_its_own_commands_work(flag: str, first: str) -> None:
    memory, forced = Kept().finish(CHAIN), dict.fromkeys(CHAIN.after(first), flag)
    found = reasons(CHAIN, memory, forced)
    assert found[first] == f"run, because {flag} says so"
    assert found["d"] == f"run, because {first} runs"
    assert memory.asked == {name: name in forced for name in memory.asked}
    assert found["a"].startswith("cached") == (first == "b")
    memory.mine = {"a", "b", "c"}
    found = reasons(CHAIN, memory, forced)
    assert [found[name].partition(" ")[0] for name in "abc"] == ["cached"] * 3
    assert found["d"] == f"run, because {flag} says so"


# Running


class Work:
    """Executes stages: most at once, some when they may, some not at all."""

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
    ) -> Results:
        return stages.run(self, known or {}, stop)


def awaited(event: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        assert event.wait(PATIENCE), "what was waited for never came"

    return wait


def test_outputs_are_handed_on_by_name() -> None:
    work = Work()
    results = work.run(graph(DIAMOND))
    assert results == Results({name: name.upper() for name in DIAMOND})
    assert work.given == {name: {each: each.upper() for each in read} for name, read in DIAMOND.items()}
    assert sorted(work.begun) == sorted(DIAMOND)


def test_a_graph_without_stages_gives_nothing() -> None:
    assert Work().run(graph({})) == Results()


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
    assert results == Results({"a": 0, "b": 1, "c": 2, "d": 3})


def test_an_output_of_none_is_an_output() -> None:
    results = graph({"a": (), "b": ("a",)}).run(lambda stage, inputs: None, {}, lambda: False)
    assert results == Results({"a": None, "b": None})


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
    assert results == Results({"a": "A", "b": "B"})  # the others neither failed nor were skipped: never begun


def test_who_stops_before_the_beginning_still_has_what_is_known() -> None:
    work = Work()
    results = work.run(CHAIN, {"a": 1, "b": 2}, lambda: True)
    assert work.begun == []
    assert results == Results({"a": 1, "b": 2})
