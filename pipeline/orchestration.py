"""Running a sweep's graph: which stages need to run and why, their runs in MLflow, and what came of each."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import SweepConfig
from pipeline.dag import Graph, Identity, Results, Stage, Verdict
from pipeline.exits import InterruptedCommandError, UsageError
from pipeline.report.boxes import Box, StageOutcome
from pipeline.stage_memory import StageMemory, write_stage
from pipeline.sweep_session import StageStory, SweepSession
from pipeline.trials.runs import SWEEP_RUN


@dataclass(frozen=True)
class Planned:
    """A graph, and for each stage whether it runs."""

    graph: Graph
    verdicts: Mapping[str, Verdict]

    @property
    def is_finished(self) -> bool:
        """Whether no stage needs to run."""
        return all(verdict.hit for verdict in self.verdicts.values())

    @property
    def outputs(self) -> dict[str, Any]:
        """Of the stages that need not run."""
        return {name: verdict.hit.output for name, verdict in self.verdicts.items() if verdict.hit}

    @property
    def boxes(self) -> list[Box]:
        return [
            Box(stage.name, stage.inputs, "cached" if self.verdicts[stage.name].hit else "run") for stage in self.graph
        ]


def plan(session: SweepSession, graph: Graph) -> Planned:
    """Asks MLflow what of the graph has been computed before.

    Raises:
        UsageError: --from or --until names no stage, or one that cannot be begun at.
    """
    config = session.config
    chosen = chosen_part(config, graph)
    memory = StageMemory(session.tracker.client, session.tracker.experiment, session.owner)
    verdicts = chosen.plan(memory, _forced(config, chosen), time.time())
    if config.from_stage is not None:
        never = [
            name for name in chosen.order if name in chosen.ancestors(config.from_stage) and not verdicts[name].hit
        ]
        if never:
            reason = verdicts[never[0]].reason.removeprefix("run, because ")
            raise UsageError(f"--from is {config.from_stage}, but {never[0]} has to run before, because {reason}")
    return Planned(chosen, verdicts)


def chosen_part(config: SweepConfig, graph: Graph) -> Graph:
    """The graph as far as --until goes."""
    for flag, name in (("--from", config.from_stage), ("--until", config.until_stage)):
        if name is not None and name not in graph.order:
            raise UsageError(f"{flag} is {name!r}, but must be one of {', '.join(graph.order)}")
    chosen = graph if config.until_stage is None else graph.until(config.until_stage)
    if config.from_stage is not None and config.from_stage not in chosen.order:
        raise UsageError(f"--from is {config.from_stage}, but --until {config.until_stage} does not lead there")
    return chosen


def _forced(config: SweepConfig, graph: Graph) -> dict[str, str]:
    if config.forced is None:
        return {}
    names = graph.order if config.from_stage is None else graph.after(config.from_stage)
    return dict.fromkeys(names, config.forced)


def run_stages(session: SweepSession, planned: Planned) -> dict[str, Any]:
    """Runs what needs to run, and gives all outputs by stage.

    Raises:
        InterruptedCommandError: the user wants to stop.
        Exception: what the first stage that failed raised; the others that did not rest on it have ended.
    """
    identities = planned.graph.identities()
    for stage in planned.graph:
        _tell(session, stage, planned.verdicts[stage.name], identities[stage.name])
    if {"search", "baseline"} <= {name for name, verdict in planned.verdicts.items() if verdict.hit is None}:
        session.places_held = 1
    with session.interrupt.deferred(), session.watchdog:
        results = planned.graph.run(
            lambda stage, inputs: _execute(session, stage, identities[stage.name], inputs),
            planned.outputs,
            lambda: session.interrupt.requested,
        )
    _raise_failures(session, results)
    if session.interrupt.requested:
        raise InterruptedCommandError("interrupted: what has ended stays in MLflow")
    return results.outputs


def _tell(session: SweepSession, stage: Stage, verdict: Verdict, identity: Identity) -> None:
    session.say(f"{stage.name}: {verdict.reason}")
    outcome: StageOutcome = "cached" if verdict.hit else "run"
    run_id = verdict.hit.run_id if verdict.hit else None
    session.story[stage.name] = StageStory(stage.name, stage.inputs, outcome, verdict.reason, run_id)
    session.stage_keys[stage.name] = f"stage/{stage.name}/{identity.fingerprint}"
    if verdict.hit:
        session.tracker.log(SWEEP_RUN, tags={f"pipeline.cached.{stage.name}": verdict.hit.run_id})


def _execute(session: SweepSession, stage: Stage, identity: Identity, inputs: dict[str, Any]) -> Any:
    """Runs a stage, times it and writes its run."""
    session.watchdog.progressed()
    key, started = session.stage_keys[stage.name], time.time()
    tags = {
        "pipeline.kind": "stage", "pipeline.stage": stage.name, "pipeline.fingerprint": identity.fingerprint,
    }  # fmt: skip
    session.tracker.start_run(key, stage.name, SWEEP_RUN, tags)
    try:
        output = stage.run(**inputs)
    except InterruptedCommandError:
        raise
    except Exception as error:
        session.tracker.end_run(key, "FAILED", {"pipeline.error": f"{type(error).__name__}: {error}"})
        raise
    session.seconds[stage.name] = time.time() - started
    folder = Path(tempfile.mkdtemp(prefix="vit-stage-"))
    write_stage(folder, stage, identity, output)
    session.tracker.log(key, {"seconds": session.seconds[stage.name]}, files=folder)
    session.tracker.end_run(key, "FINISHED")
    return output


def _raise_failures(session: SweepSession, results: Results) -> None:
    failures = results.failures
    for name, culprit in results.skipped.items():
        if not isinstance(failures[culprit], InterruptedCommandError):
            session.say(f"{name}: not run, because {culprit} failed")
    interrupted = [error for error in failures.values() if isinstance(error, InterruptedCommandError)]
    for error in [*interrupted, *failures.values()]:
        raise error
