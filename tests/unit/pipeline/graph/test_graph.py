"""Tests which graphs are allowed, in which order their stages come, and what depends on what."""

from dataclasses import replace

import pytest

from pipeline.graph.graph import Graph, GraphError
from pipeline.graph.stage import Stage
from tests.unit.pipeline.graph.graphs import DIAMOND, graph, nothing


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
    with pytest.raises(GraphError, match="form a cycle") as refused:
        graph(inputs)
    assert set(str(refused.value).partition(": ")[2].split(" -> ")) == names


def test_a_missing_input_names_reader_and_input() -> None:
    with pytest.raises(GraphError, match=r"^stage 'b' takes 'x' as an input, but no stage has that name$"):
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
