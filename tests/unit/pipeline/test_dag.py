"""Graphs from adjacency dicts: their order, what is handed on, and what is refused."""

from typing import Any

import pytest

from pipeline.dag import Graph, GraphError, Stage


def graph(inputs: dict[str, tuple[str, ...]]) -> Graph:
    """A graph whose stages give back their own name and what they were handed."""

    def told(name: str) -> Any:
        return lambda *handed: (name, *handed)

    return Graph([Stage(name, read, told(name)) for name, read in inputs.items()])


def run(stages: Graph) -> dict[str, Any]:
    return dict(stages.run(lambda stage, inputs: stage.run(*inputs)))


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


def test_every_input_comes_before_its_reader() -> None:
    inputs = {"f": ("d", "e"), "e": ("a",), "d": ("b", "c"), "c": ("a",), "b": ("a",), "a": ()}
    order = graph(inputs).order
    assert sorted(order) == sorted(inputs)
    for name, read in inputs.items():
        assert all(order.index(each) < order.index(name) for each in read)


def test_inputs_are_handed_on_in_the_declared_order() -> None:
    outputs = run(graph({"a": (), "b": (), "ba": ("b", "a"), "ab": ("a", "b")}))
    assert outputs["ba"] == ("ba", ("b",), ("a",))
    assert outputs["ab"] == ("ab", ("a",), ("b",))


def test_outputs_are_those_of_the_executor() -> None:
    lengths = graph({"a": (), "b": ("a",)}).run(lambda stage, inputs: len(inputs) + 10)
    assert lengths == {"a": 10, "b": 11}


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({"a": ("a",)}, ("a",)),
        ({"top": (), "left": ("right", "top"), "right": ("left",)}, ("left", "right")),
    ],
)
def test_a_cycle_names_its_stages(inputs: dict[str, tuple[str, ...]], names: tuple[str, ...]) -> None:
    with pytest.raises(GraphError, match="wait for each other") as refused:
        graph(inputs)
    assert set(str(refused.value).partition(": ")[2].split(" -> ")) == set(names)


def test_a_missing_input_names_reader_and_input() -> None:
    with pytest.raises(GraphError, match="stage 'b' reads 'x', which no stage gives"):
        graph({"a": (), "b": ("a", "x")})


def test_a_name_given_twice_is_refused() -> None:
    stage = Stage("a", (), lambda: None)
    with pytest.raises(GraphError, match="stage 'a' is declared twice"):
        Graph([Stage("b", (), lambda: None), stage, stage])


def test_a_stage_that_raises_stops_the_rest() -> None:
    begun: list[str] = []

    def execute(stage: Stage, inputs: list[Any]) -> None:
        begun.append(stage.name)
        if stage.name == "b":
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        graph({"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}).run(execute)
    assert begun == ["a", "b"]
