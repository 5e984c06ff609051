"""Builds graphs whose stages do nothing."""

from collections.abc import Mapping
from typing import Any

from pipeline.graph.graph import Graph
from pipeline.graph.stage import Stage

DIAMOND = {"f": ("d", "e"), "e": ("a",), "d": ("b", "c"), "c": ("a",), "b": ("a",), "a": ()}


def nothing(**inputs: Any) -> None:
    """Stands for the work of a stage, and never runs."""


def graph(inputs: Mapping[str, tuple[str, ...]]) -> Graph:
    return Graph([Stage(name, read, nothing, str) for name, read in inputs.items()])


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
