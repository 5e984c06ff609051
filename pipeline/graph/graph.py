"""Stages, sorted so that each comes after its inputs. Names nothing of Ray and MLflow."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pipeline.graph.jobs import Jobs
from pipeline.graph.reuse import Memory, ReuseDecision, reuse_decision
from pipeline.graph.stage import Identity, Stage


class GraphError(ValueError):
    """The stages do not form a graph, or there is no such stage; the message names the stage."""


@dataclass(frozen=True)
class GraphResults:
    """What became of each stage: it is in one of the three, or in none if it never started."""

    outputs: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    """In the order of the graph, whichever failed first."""
    skipped: dict[str, str] = field(default_factory=dict)
    """With the stage whose failure kept it from running."""


class Graph:
    """Stages, sorted so that each comes after its inputs; checked when it is built."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        """Raises GraphError for a stage declared twice, an input that is no stage, and a cycle."""
        self._stages: dict[str, Stage] = {}
        for stage in stages:
            if stage.name in self._stages:
                raise GraphError(f"stage {stage.name!r} is declared twice")
            self._stages[stage.name] = stage
        for stage in self._stages.values():
            for name in stage.inputs:
                if name not in self._stages:
                    raise GraphError(f"stage {stage.name!r} takes {name!r} as an input, but no stage has that name")
        try:
            self.order = tuple(self._sorter().static_order())
        except CycleError as error:
            raise GraphError(f"stages wait for each other: {' -> '.join(error.args[1])}") from error

    def _sorter(self) -> "TopologicalSorter[str]":
        return TopologicalSorter({stage.name: stage.inputs for stage in self._stages.values()})

    def __iter__(self) -> Iterator[Stage]:
        return (self._stages[name] for name in self.order)

    def __getitem__(self, name: str) -> Stage:
        if name not in self._stages:
            raise GraphError(f"{name!r} is no stage; the stages are {', '.join(self.order)}")
        return self._stages[name]

    def ancestors(self, name: str) -> set[str]:
        """All stages that lead to a stage, itself left out."""
        inputs = set(self[name].inputs)
        return inputs.union(*(self.ancestors(each) for each in inputs))

    def until(self, name: str) -> "Graph":
        """The stage and all that lead to it."""
        wanted = {name, *self.ancestors(name)}
        return Graph(stage for stage in self if stage.name in wanted)

    def after(self, name: str) -> set[str]:
        """The stage and all that depend on it."""
        return {name, *(stage.name for stage in self if name in self.ancestors(stage.name))}

    def identities(self) -> dict[str, Identity]:
        """What decides each stage's output; known before anything runs."""
        found: dict[str, Identity] = {}
        for stage in self:
            found[stage.name] = Identity(
                stage.settings, stage.code, {name: found[name].fingerprint for name in stage.inputs}
            )
        return found

    def plan(self, memory: Memory, forced: Mapping[str, str], now: float) -> dict[str, ReuseDecision]:
        """Whether each stage runs, in order.

        Args:
            memory: what has been computed before.
            forced: stages for which only this very command's earlier work counts, and the flag that says so.
            now: seconds since 1970.
        """
        identities = self.identities()
        decisions: dict[str, ReuseDecision] = {}
        for stage in self:
            ancestors = self.ancestors(stage.name)
            rerun_inputs = [name for name in self.order if name in ancestors and decisions[name].has_own_reason]
            reused = {name: decisions[name].reused for name in stage.inputs}
            inputs = {name: found.digest for name, found in reused.items() if found is not None}
            decisions[stage.name] = reuse_decision(
                stage, identities[stage.name], inputs, rerun_inputs, memory, forced.get(stage.name), now
            )
        return decisions

    def run(
        self, execute: Callable[[Stage, dict[str, Any]], Any], known: Mapping[str, Any], stop: Callable[[], bool]
    ) -> GraphResults:
        """Runs the stages, those that do not wait for each other side by side, each in a thread of its own.

        A stage that fails takes along those that depend on it; the others go on. Once `stop()`, none is begun.

        Args:
            execute: gets a stage and its inputs' outputs by name, and gives its output.
            known: outputs of stages that need not run.
            stop: asked before each beginning.
        """
        results, jobs = GraphResults(), Jobs[Any]()
        sorter = self._sorter()
        sorter.prepare()
        while sorter.is_active():
            ready = sorter.get_ready()
            for name in ready:
                lost = next((each for each in self[name].inputs if each not in results.outputs), None)
                if lost is None and name not in known and not stop():
                    inputs = {each: results.outputs[each] for each in self[name].inputs}
                    jobs.start(name, partial(execute, self[name], inputs))
                    continue
                if lost in results.failures or lost in results.skipped:
                    results.skipped[name] = results.skipped.get(lost, lost)
                elif lost is None and name in known:
                    results.outputs[name] = known[name]
                sorter.done(name)
            if not ready:
                name, output = jobs.next_end()
                (results.failures if isinstance(output, BaseException) else results.outputs)[name] = output
                sorter.done(name)
        failures = {name: results.failures[name] for name in self.order if name in results.failures}
        return replace(results, failures=failures)
