"""Sorts stages so that each comes after its inputs, plans and runs them; depends on neither Ray nor MLflow."""

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
    """What happened to each stage: it is in one of the three, or in none if the run was stopped before it."""

    outputs: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    """The stages' errors, in the order of the graph, whichever stage failed first."""
    skipped: dict[str, str] = field(default_factory=dict)
    """By stage, the stage whose failure kept it from running."""


class Graph:
    """A graph of stages, sorted so that each comes after its inputs; it is checked when it is built."""

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
            raise GraphError(f"the stages form a cycle: {' -> '.join(error.args[1])}") from error

    def _sorter(self) -> "TopologicalSorter[str]":
        return TopologicalSorter({stage.name: stage.inputs for stage in self._stages.values()})

    def __iter__(self) -> Iterator[Stage]:
        return (self._stages[name] for name in self.order)

    def __getitem__(self, name: str) -> Stage:
        if name not in self._stages:
            raise GraphError(f"{name!r} is no stage; the stages are {', '.join(self.order)}")
        return self._stages[name]

    def ancestors(self, name: str) -> set[str]:
        """Returns all stages that a stage depends on, directly or indirectly, without the stage itself."""
        inputs = set(self[name].inputs)
        return inputs.union(*(self.ancestors(each) for each in inputs))

    def until(self, name: str) -> "Graph":
        """Returns a graph of the stage and all stages that it depends on."""
        wanted = {name, *self.ancestors(name)}
        return Graph(stage for stage in self if stage.name in wanted)

    def after(self, name: str) -> set[str]:
        """Returns the stage and all stages that depend on it."""
        return {name, *(stage.name for stage in self if name in self.ancestors(stage.name))}

    def identities(self) -> dict[str, Identity]:
        """Returns what decides each stage's output, which is known before anything runs."""
        found: dict[str, Identity] = {}
        for stage in self:
            found[stage.name] = Identity(
                stage.settings, stage.code, {name: found[name].fingerprint for name in stage.inputs}
            )
        return found

    def plan(self, memory: Memory, forced: Mapping[str, str], now: float) -> dict[str, ReuseDecision]:
        """Decides for each stage, in order, whether it runs or an earlier output is reused.

        Args:
            memory: what has been computed before.
            forced: the stages for which only this command's own earlier runs count, each with the flag that says so.
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
        """Runs the stages, each in a thread of its own; stages that do not depend on each other run at the same time.

        If a stage fails, those that depend on it are skipped, and the others continue. Once `stop()` is true, no
        further stage begins.

        Args:
            execute: takes a stage and its inputs' outputs by name, and returns the stage's output.
            known: outputs of stages that need not run.
            stop: is called before each stage begins.
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
