"""What `pipeline.sweep` can be asked for: the sweep itself, its plan, its graph, and why a trial ended."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.cluster import connected
from pipeline.config import SweepConfig, experiment_name, resolve_tracking_uri
from pipeline.console import plain_or_live
from pipeline.decisions import explain
from pipeline.orchestration import plan, run_stages
from pipeline.planning.budgeted import fit_to_budget
from pipeline.planning.outlook import foresee, outlook_lines, outlook_values
from pipeline.report.boxes import Box
from pipeline.report.drawing import write_graph
from pipeline.report.summary import describe_search, print_leaderboard, print_summary
from pipeline.session import open_session, under_way
from pipeline.stages import sweep_graph
from pipeline.sweep_session import SweepSession
from pipeline.tracking_server import open_client, refuse_missing_database, refuse_unreachable
from vit.data import load_dataset


def carry_out(
    config: SweepConfig, budget: str | None, started: float, plan_only: bool, graph: Path | None
) -> dict[str, Any]:
    """Does what the flags ask for; prints and gives the result. `started`: when the command did, UNIX seconds."""
    with nullcontext(config) if budget is None else _within(budget, config, started, plan_only) as fitted:
        if plan_only:
            return print_plan(fitted, graph)
        return print_graph(fitted, graph) if graph is not None else sweep(fitted)


@contextmanager
def _within(budget: str, config: SweepConfig, started: float, plan_only: bool) -> Iterator[SweepConfig]:
    """The configuration made small enough, within a Ray that was asked what fits.

    What then runs has as many trials as there is time for, so that a budget is neither passed nor left unused.
    """
    with connected(config.address, dashboard=config.workers_per_trial > 1):
        fitted = fit_to_budget(config, budget, started, plain_or_live())
        yield fitted if plan_only else replace(fitted, trials=config.trials)


def sweep(config: SweepConfig) -> dict[str, Any]:
    """Runs the stages that need to run; prints and gives the result."""
    with open_session(SweepSession, config, plain_or_live()) as session:
        planned = plan(session, sweep_graph(session))
        outputs = planned.outputs
        if planned.is_finished:
            for name, verdict in planned.verdicts.items():
                session.say(f"{name}: {verdict.reason}")
        else:
            with under_way(session, dashboard=config.workers_per_trial > 1):
                outputs = run_stages(session, planned)
        if "report" in outputs:
            print_summary(session.console, outputs["report"])
            return dict(outputs["report"])
        result = describe_search(session, outputs["search"]) if "search" in outputs else {}
        if result:
            print_leaderboard(session.console, result["leaderboard"])
        return result


def print_plan(config: SweepConfig, file: Path | None) -> dict[str, Any]:
    """Says what would run, and draws it where a file is named."""
    with open_session(SweepSession, config, plain_or_live()) as session:
        planned = plan(session, sweep_graph(session))
        outlook = None if planned.is_finished else foresee(session, planned)
        for line in outlook_lines(session, planned, outlook):
            session.say(line)
        if file is not None:
            session.say(f"the stages are drawn in {write_graph(file, planned.boxes)}")
        session.forget()
    return outlook_values(planned, outlook)


def print_graph(config: SweepConfig, file: Path) -> dict[str, Any]:
    """Draws the stages."""
    with open_session(SweepSession, config, plain_or_live()) as session:
        boxes = [Box(stage.name, stage.inputs) for stage in sweep_graph(session)]
        session.forget()
        session.say(f"the stages are drawn in {write_graph(file, boxes)}")
    return {"stages": [asdict(box) for box in boxes]}


def print_why(config: SweepConfig, trial: int) -> None:
    """Says why a trial of the data set's newest sweep ended."""
    uri = resolve_tracking_uri(config.tracking_uri)
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    name = load_dataset(config.data).name
    print("\n".join(explain(open_client(uri), experiment_name(name), trial)))
