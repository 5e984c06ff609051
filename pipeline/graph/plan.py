"""Plans which stages of a graph need to run: those that the user selected, unless their outputs are known."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.figures.boxes import Box
from pipeline.graph.graph import Graph
from pipeline.graph.reuse import Memory, ReuseDecision


@dataclass(frozen=True)
class GraphPlan:
    """A graph, and for each stage whether it runs."""

    graph: Graph
    decisions: Mapping[str, ReuseDecision]

    @property
    def is_finished(self) -> bool:
        """Whether no stage needs to run."""
        return not self.running

    @property
    def running(self) -> set[str]:
        """The stages that need to run."""
        return {name for name, decision in self.decisions.items() if decision.reused is None}

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of the stages that need not run."""
        return {name: decision.reused.output for name, decision in self.decisions.items() if decision.reused}

    @property
    def boxes(self) -> list[Box]:
        return [
            Box(stage.name, stage.inputs, "run" if stage.name in self.running else "cached") for stage in self.graph
        ]


@dataclass(frozen=True)
class StageSelection:
    """What the user asked for: `--from`, `--until`, and the flag, if any, that rules out other commands' results."""

    from_stage: str | None = None
    until_stage: str | None = None
    forced: str | None = None


def plan_graph(graph: Graph, selection: StageSelection, memory: Memory) -> GraphPlan:
    """Plans the selected part of the graph: what the memory has of it need not run.

    Raises:
        UsageError: --from or --until names no stage, --until does not lead to --from, or a stage before --from has to
            run.
    """
    chosen = selected_part(graph, selection)
    decisions = chosen.plan(memory, _forced_stages(chosen, selection), time.time())
    from_stage = selection.from_stage
    if from_stage is not None:
        never = [name for name in chosen.order if name in chosen.ancestors(from_stage) and not decisions[name].reused]
        if never:
            reason = decisions[never[0]].reason.removeprefix("run, because ")
            raise UsageError(f"--from is {from_stage}, but {never[0]} has to run first, because {reason}")
    return GraphPlan(chosen, decisions)


def selected_part(graph: Graph, selection: StageSelection) -> Graph:
    """Returns the part of the graph that leads to the stage of --until.

    Raises:
        UsageError: --from or --until names no stage, or --until does not lead to --from.
    """
    from_stage, until_stage = selection.from_stage, selection.until_stage
    for flag, name in (("--from", from_stage), ("--until", until_stage)):
        if name is not None and name not in graph.order:
            raise UsageError(f"{flag} is {name!r}, but must be one of {', '.join(graph.order)}")
    chosen = graph if until_stage is None else graph.until(until_stage)
    if from_stage is not None and from_stage not in chosen.order:
        raise UsageError(f"--from is {from_stage}, but {until_stage} (--until) does not depend on it")
    return chosen


def _forced_stages(graph: Graph, selection: StageSelection) -> dict[str, str]:
    if selection.forced is None:
        return {}
    names = graph.order if selection.from_stage is None else graph.after(selection.from_stage)
    return dict.fromkeys(names, selection.forced)
