"""The actions of `pipeline.sweep`: run the sweep, print its plan, draw its graph, or explain why a trial ended."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.cluster.connection import connected
from pipeline.config import SweepConfig, experiment_name, resolve_tracking_uri
from pipeline.figures.boxes import Box
from pipeline.figures.graph_text import write_graph
from pipeline.graph.plan import GraphPlan, StageSelection, plan_graph
from pipeline.graph.runner import GraphRunner
from pipeline.graph.stage_memory import StageMemory
from pipeline.planning.budget_choice import fit_to_budget
from pipeline.planning.forecast import forecast_lines, forecast_sweep, forecast_values
from pipeline.report.printing import print_leaderboard, print_summary
from pipeline.report.summary import describe_search, up_to_date
from pipeline.search.decisions import explain
from pipeline.session.lifecycle import open_session, running_command
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import sweep_graph
from pipeline.terminal.console import plain_or_live
from pipeline.tracking.server import open_client, refuse_missing_database, refuse_unreachable
from pipeline.tracking.trial_runs import SWEEP_RUN
from vit.data.sources import dataset_name


def carry_out(
    config: SweepConfig, budget: str | None, started: float, plan_only: bool, graph: Path | None
) -> dict[str, Any]:
    """Does what the flags ask for; prints the result and returns it.

    `started` is the time at which the command started, in seconds since 1970.
    """
    with nullcontext(config) if budget is None else _fitted_to_budget(budget, config, started) as fitted:
        if plan_only:
            return print_plan(fitted, graph)
        return print_graph(fitted, graph) if graph is not None else sweep(fitted)


@contextmanager
def _fitted_to_budget(budget: str, config: SweepConfig, started: float) -> Iterator[SweepConfig]:
    """Yields the configuration, with the sweep made small enough for the budget, while Ray is connected.

    What fits is found on that cluster.
    """
    with connected(config.address, dashboard=config.workers_per_trial > 1):
        yield fit_to_budget(config, budget, started, plain_or_live())


def sweep(config: SweepConfig) -> dict[str, Any]:
    """Runs the stages that need to run; prints the result and returns it."""
    with open_session(SweepSession, config, plain_or_live()) as session:
        plan = _plan(session)
        outputs = _announce_cached(session, plan) if plan.is_finished else _run(session, plan)
        if "report" in outputs:
            cached = "report" in plan.outputs
            summary = up_to_date(session, outputs["report"]) if cached else outputs["report"]
            print_summary(session.console, summary)
            return dict(summary)
        result = describe_search(session, outputs["search"]) if "search" in outputs else {}
        if result:
            print_leaderboard(session.console, result["leaderboard"])
        return result


def _plan(session: SweepSession) -> GraphPlan:
    config = session.config
    selection = StageSelection(config.from_stage, config.until_stage, config.forced)
    memory = StageMemory(session.tracker.client, session.tracker.experiment, session.memory.owner)
    plan = plan_graph(sweep_graph(session), selection, memory)
    if "prepare" in plan.outputs:
        session.use_precision(plan.outputs["prepare"].precision)
    return plan


def _announce_cached(session: SweepSession, plan: GraphPlan) -> dict[str, Any]:
    for name, decision in plan.decisions.items():
        session.say(f"{name}: {decision.reason}")
    if session.memory.remembered("finished") is False:  # what it had left was done elsewhere, over the same store
        session.memory.remember("finished", True)
    return plan.outputs


def _run(session: SweepSession, plan: GraphPlan) -> dict[str, Any]:
    runner = GraphRunner(
        plan, session.tracker, SWEEP_RUN, session.stage_records, session.say, session.watchdog.progressed
    )
    several_workers = session.config.workers_per_trial > 1
    with running_command(session, dashboard=several_workers), session.interrupt.deferred(), session.watchdog:
        if {"search", "baseline"} <= plan.running:
            session.hold_slots_for_baseline()
        if {"audit", "confirm"} <= plan.running:
            session.audit_ended.clear()
        return runner.run(lambda: session.interrupt.requested)


def print_plan(config: SweepConfig, file: Path | None) -> dict[str, Any]:
    """Prints what would run, and draws it if a file is given; returns the plan and its forecast as plain values."""
    with open_session(SweepSession, config, plain_or_live()) as session:
        plan = _plan(session)
        forecast = None if plan.is_finished else forecast_sweep(session, plan)
        for line in forecast_lines(session, plan, forecast):
            session.say(line)
        if file is not None:
            session.say(f"the stages are drawn in {write_graph(file, plan.boxes)}")
    return forecast_values(plan, forecast)


def print_graph(config: SweepConfig, file: Path) -> dict[str, Any]:
    """Draws the stages into the file; returns them as plain values."""
    with open_session(SweepSession, config, plain_or_live()) as session:
        boxes = [Box(stage.name, stage.inputs) for stage in sweep_graph(session)]
        session.say(f"the stages are drawn in {write_graph(file, boxes)}")
    return {"stages": [asdict(box) for box in boxes]}


def print_why(config: SweepConfig, trial: int) -> None:
    """Prints why a trial of the data set's newest sweep ended."""
    uri = resolve_tracking_uri(config.tracking_uri)
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    name = dataset_name(config.data.dataset)
    print("\n".join(explain(open_client(uri), experiment_name(name), trial)))
