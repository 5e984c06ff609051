"""Stages, the graph that they form, and what of it has been computed before.

Pure: knows neither Ray, nor MLflow, nor what a stage does. What was computed before is a `Memory`'s to know.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol

from pipeline.fingerprint import fingerprint
from pipeline.jobs import Jobs

Plain = str | int | float | bool | None


class GraphError(ValueError):
    """The stages do not form a graph, or there is no such stage; the message names the stage."""


@dataclass(frozen=True)
class Stage:
    """A named step.

    `run` gets the outputs of `inputs` by their names and gives its own: small, of type `gives`, with all that is big
    referred to.
    """

    name: str
    inputs: tuple[str, ...]
    run: Callable[..., Any]
    gives: type
    reads: Mapping[str, Plain] = field(default_factory=dict)
    """The configuration that decides its output, by names that a user knows."""
    code: Mapping[str, str] = field(default_factory=dict)
    """The code that decides its output: a digest by module."""
    missing: Callable[[Any], str | None] = lambda output: None
    """Says what an output refers to and is no longer there."""


@dataclass(frozen=True)
class Identity:
    """All that decides a stage's output."""

    reads: Mapping[str, Plain]
    code: Mapping[str, str]
    inputs: Mapping[str, str]
    """Fingerprints, by stage."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits; equal where the same would be computed."""
        return fingerprint([dict(self.reads), dict(self.code), dict(self.inputs)])


@dataclass(frozen=True)
class Remembered:
    """A stage that has finished before."""

    run_id: str
    ended_at: float
    """Seconds since 1970."""
    identity: Identity
    output: Any
    """Of the type that the stage gives."""


class Memory(Protocol):
    """What has been computed before."""

    def find(self, stage: Stage, fingerprint: str, own: bool) -> Remembered | None:
        """The newest finished run of a stage with this fingerprint; with `own`, of the present command's only."""

    def latest(self, stage: Stage) -> Identity | None:
        """What the newest finished run of a stage was, whatever its fingerprint."""


@dataclass(frozen=True)
class Verdict:
    """Whether a stage runs, and why."""

    reason: str
    """In words: `cached from run 3f2a91c0 (2 minutes ago)`, `run, because trials changed (32 -> 48)`."""
    hit: Remembered | None = None
    """What stands for it; None where it runs."""
    begins: bool = False
    """It runs for a reason of its own, and not because an input does."""


@dataclass(frozen=True)
class Results:
    """What came of the stages, by name. A stage stands in one of the three, or was never begun."""

    outputs: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    """In the order of the graph, whichever failed first."""
    skipped: dict[str, str] = field(default_factory=dict)
    """With the stage whose failure kept it from running."""


class Graph:
    """Stages in an order that serves every input first; checked when it is built."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        """Raises GraphError for a stage declared twice, an input that no stage gives, and a cycle."""
        self._stages: dict[str, Stage] = {}
        for stage in stages:
            if stage.name in self._stages:
                raise GraphError(f"stage {stage.name!r} is declared twice")
            self._stages[stage.name] = stage
        for stage in self._stages.values():
            for name in stage.inputs:
                if name not in self._stages:
                    raise GraphError(f"stage {stage.name!r} reads {name!r}, which no stage gives")
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
        """All that a stage rests on, itself left out."""
        inputs = set(self[name].inputs)
        return inputs.union(*(self.ancestors(each) for each in inputs))

    def until(self, name: str) -> "Graph":
        """The stage and all that it rests on."""
        wanted = {name, *self.ancestors(name)}
        return Graph(stage for stage in self if stage.name in wanted)

    def after(self, name: str) -> set[str]:
        """The stage and all that rests on it."""
        return {name, *(stage.name for stage in self if name in self.ancestors(stage.name))}

    def identities(self) -> dict[str, Identity]:
        """What decides each stage's output; known before anything runs."""
        found: dict[str, Identity] = {}
        for stage in self:
            found[stage.name] = Identity(
                stage.reads, stage.code, {name: found[name].fingerprint for name in stage.inputs}
            )
        return found

    def plan(self, memory: Memory, forced: Mapping[str, str], now: float) -> dict[str, Verdict]:
        """Whether each stage runs, in order.

        Args:
            memory: what has been computed before.
            forced: stages for which only this very command's earlier work counts, and the flag that says so.
            now: seconds since 1970.
        """
        identities = self.identities()
        verdicts: dict[str, Verdict] = {}
        for stage in self:
            again = [name for name in self.order if name in self.ancestors(stage.name) and verdicts[name].begins]
            verdicts[stage.name] = _verdict(stage, identities[stage.name], again, memory, forced.get(stage.name), now)
        return verdicts

    def run(
        self, execute: Callable[[Stage, dict[str, Any]], Any], known: Mapping[str, Any], stop: Callable[[], bool]
    ) -> Results:
        """Runs the stages, those that do not wait for each other side by side, each in a thread of its own.

        A stage that fails takes along those that rest on it; the others go on. Once `stop()`, none is begun.

        Args:
            execute: gets a stage and its inputs' outputs by name, and gives its output.
            known: outputs of stages that need not run.
            stop: asked before each beginning.
        """
        results, jobs = Results(), Jobs[Any]()
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


def _verdict(
    stage: Stage, identity: Identity, again: list[str], memory: Memory, forced: str | None, now: float
) -> Verdict:
    if again:
        return Verdict(f"run, because {' and '.join(again)} {'runs' if len(again) == 1 else 'run'}")
    found = memory.find(stage, identity.fingerprint, own=forced is not None)
    if found is None:
        return Verdict(
            f"run, because {f'{forced} says so' if forced else _difference(memory.latest(stage), identity)}",
            begins=True,
        )
    missing = stage.missing(found.output)
    if missing is not None:
        return Verdict(f"run, because {missing} is gone", begins=True)
    return Verdict(f"cached from run {found.run_id[:8]} ({_ago(now - found.ended_at)})", found)


def _difference(before: Identity | None, identity: Identity) -> str:
    """Why what was computed last does not serve."""
    if before is None:
        return "it has not finished before"
    reasons = [
        f"{name} changed ({before.reads.get(name, 'unset')} -> {identity.reads.get(name, 'unset')})"
        for name in sorted({*before.reads, *identity.reads})
        if before.reads.get(name) != identity.reads.get(name)
    ]
    modules = sorted({*before.code.items()} ^ {*identity.code.items()})
    if modules:
        reasons.append(f"its code changed ({', '.join(dict(modules))})")
    reasons += [
        f"{name} is another" for name, fingerprint in identity.inputs.items() if before.inputs.get(name) != fingerprint
    ]
    return " and ".join(reasons) or "what it gave out before cannot be read"


def _ago(seconds: float) -> str:
    seconds = max(0.0, seconds)  # another machine's clock may be ahead
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
