"""Tests whether a stage runs, and which reason is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pipeline.graph.graph import Graph
from pipeline.graph.reuse import Remembered
from pipeline.graph.stage import Identity, Stage
from tests.unit.pipeline.graph.graphs import CHAIN, graph

NOW = 1_700_000_000.0


@dataclass
class Kept:
    """A memory in a dict: the finished runs by stage and fingerprint, the newest last."""

    runs: dict[tuple[str, str], Remembered] = field(default_factory=dict)
    mine: set[str] = field(default_factory=set)
    """The stages that the command itself has finished."""
    asked: dict[str, bool] = field(default_factory=dict)
    """Whether only the command's own runs counted when a stage was looked up, by stage."""

    def find(self, stage: Stage, fingerprint: str, inputs: Mapping[str, str], own: bool) -> Remembered | None:
        self.asked[stage.name] = own
        return None if own and stage.name not in self.mine else self.runs.get((stage.name, fingerprint))

    def latest(self, stage: Stage) -> Identity | None:
        return next((run.identity for (name, _), run in reversed(self.runs.items()) if name == stage.name), None)

    def finish(self, stages: Graph, *names: str, seconds_ago: float = 150) -> "Kept":
        """Records stages as finished, all if none is named; the output of each is its own name."""
        identities = stages.identities()
        for name in names or stages.order:
            identity = identities[name]
            run = Remembered(f"{name * 8}-rest", NOW - seconds_ago, identity, name)
            self.runs[name, identity.fingerprint] = run
        return self


def changed(stages: Graph, name: str, **change: Any) -> Graph:
    return Graph(replace(stage, **change) if stage.name == name else stage for stage in stages)


def reasons(stages: Graph, memory: Kept, forced: Mapping[str, str] | None = None) -> dict[str, str]:
    return {name: decision.reason for name, decision in stages.plan(memory, forced or {}, NOW).items()}


def test_nothing_has_finished_before() -> None:
    assert reasons(CHAIN, Kept()) == {
        "a": "run, because it has not finished before",
        "b": "run, because a runs",
        "c": "run, because a runs",
        "d": "run, because a runs",
    }


def test_a_hit_names_its_run_and_its_age() -> None:
    memory = Kept().finish(CHAIN)
    decisions = CHAIN.plan(memory, {}, NOW)
    assert [decision.reason for decision in decisions.values()] == [
        f"cached from run {name * 8} (2 minutes ago)" for name in "abcd"
    ]
    assert [decision.reused.output for decision in decisions.values() if decision.reused] == ["a", "b", "c", "d"]
    assert tuple(decisions) == CHAIN.order
    assert memory.asked == dict.fromkeys("abcd", False)


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-5, "just now"), (0, "just now"), (59.9, "just now"), (60, "1 minute ago"), (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (7200, "2 hours ago"), (86399, "23 hours ago"), (86400, "1 day ago"), (9 * 86400, "9 days ago"),
    ],
)  # fmt: skip
def test_ages_in_words(seconds: float, age: str) -> None:
    stages = graph({"a": ()})
    assert reasons(stages, Kept().finish(stages, seconds_ago=seconds)) == {"a": f"cached from run aaaaaaaa ({age})"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"settings": {"learning-rate range": "1e-4..3e-3", "trials": 32}},
            "learning-rate range changed (1e-4..1e-2 -> 1e-4..3e-3)",
        ),
        (
            {"settings": {"learning-rate range": "1e-4..3e-3", "trials": 48}},
            "learning-rate range changed (1e-4..1e-2 -> 1e-4..3e-3) and trials changed (32 -> 48)",
        ),
        ({"settings": {"learning-rate range": "1e-4..1e-2"}}, "trials changed (32 -> unset)"),
        (
            {"settings": {"learning-rate range": "1e-4..1e-2", "trials": 32, "depth range": "2, 4"}},
            "depth range changed (unset -> 2, 4)",
        ),
        ({"code": {"vit.fit": "1", "vit.m": "3"}}, "its code changed (vit.m)"),
        ({"code": {"vit.fit": "1"}}, "its code changed (vit.m)"),
        (
            {"settings": {"learning-rate range": "1e-4..1e-2", "trials": 8, "digest of the trials": "3f2a"}},
            "trials changed (32 -> 8)",
        ),
        (
            {"settings": {"learning-rate range": "1e-4..1e-2", "trials": 32, "digest of the trials": "3f2a"}},
            "digest of the trials changed (unset -> 3f2a)",
        ),
        ({"code": {"vit.fit": "9", "vit.m": "9", "vit.new": "9"}}, "its code changed (vit.fit, vit.m, vit.new)"),
        (
            {"settings": {"learning-rate range": "1e-4..1e-2", "trials": 8}, "code": {"vit.fit": "9", "vit.m": "2"}},
            "trials changed (32 -> 8) and its code changed (vit.fit)",
        ),
    ],
)
def test_what_changed_is_named(change: dict[str, Any], reason: str) -> None:
    found = reasons(changed(CHAIN, "a", **change), Kept().finish(CHAIN))
    assert found["a"] == f"run, because {reason}"
    assert found["d"] == "run, because a runs"


def test_each_stage_that_makes_another_one_run_is_named() -> None:
    found = reasons(changed(changed(CHAIN, "b", settings={"seeds": 3}), "c", settings={"x": 1}), Kept().finish(CHAIN))
    assert found["d"] == "run, because b and c run"


def test_an_input_that_is_another_is_named() -> None:
    memory = Kept().finish(CHAIN)
    other = changed(CHAIN, "a", settings={"trials": 8})
    memory.finish(other, "a")  # written by another command, which got no further
    found = reasons(other, memory)
    assert found["a"] == "cached from run aaaaaaaa (2 minutes ago)"
    assert found["b"] == found["c"] == "run, because its input a changed"


def test_the_newest_run_of_a_stage_is_what_a_change_is_measured_against() -> None:
    memory = Kept()
    for trials in (8, 16):
        memory.finish(changed(CHAIN, "a", settings={"trials": trials}))
    found = reasons(changed(CHAIN, "a", settings={"trials": 32}), memory)
    assert found["a"] == "run, because trials changed (16 -> 32)"


def test_earlier_work_counts_whatever_came_after_it() -> None:
    memory = Kept().finish(CHAIN).finish(changed(CHAIN, "a", settings={"trials": 8}))
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
