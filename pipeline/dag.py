"""Stages and the graph that they form. Pure: knows neither Ray, nor MLflow, nor what a stage does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any


class GraphError(ValueError):
    """The stages do not form a graph; the message names the stage."""


@dataclass(frozen=True)
class Stage:
    """A named step: `run` gets the outputs of `inputs`, in their order, and gives its own small output."""

    name: str
    inputs: tuple[str, ...]
    run: Callable[..., Any]


class Graph:
    """Stages in an order that serves every input first; checked when it is built."""

    def __init__(self, stages: list[Stage]) -> None:
        self._stages = {stage.name: stage for stage in stages}
        if len(self._stages) < len(stages):
            names = [stage.name for stage in stages]
            twice = next(name for name in names if names.count(name) > 1)
            raise GraphError(f"stage {twice!r} is declared twice")
        for stage in stages:
            for name in stage.inputs:
                if name not in self._stages:
                    raise GraphError(f"stage {stage.name!r} reads {name!r}, which no stage gives")
        try:
            self.order = tuple(TopologicalSorter({stage.name: stage.inputs for stage in stages}).static_order())
        except CycleError as error:
            raise GraphError(f"stages wait for each other: {' -> '.join(error.args[1])}") from error

    def run(self, execute: Callable[[Stage, list[Any]], Any]) -> Mapping[str, Any]:
        """Runs the stages in order through `execute(stage, inputs)`; gives every stage's output by name."""
        outputs: dict[str, Any] = {}
        for stage in self:
            outputs[stage.name] = execute(stage, [outputs[name] for name in stage.inputs])
        return outputs

    def __iter__(self) -> Iterator[Stage]:
        return (self._stages[name] for name in self.order)
