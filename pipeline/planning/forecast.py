"""Reports what a sweep would run, why, and how much time and space it would take, without running it (`--plan`)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.cluster.connection import connected
from pipeline.figures.boxes import Box
from pipeline.figures.graph_text import as_text
from pipeline.graph.plan import GraphPlan
from pipeline.planning.estimate import SweepEstimate, TimeEstimate, sweep_estimate
from pipeline.planning.footprint import disk_bytes, mlflow_rows
from pipeline.planning.sweep_plan import SweepPlan
from pipeline.planning.timing import calibrate
from pipeline.search.fused_groups import in_parts
from pipeline.session.folder import AUDIT_FOLDER, FINALISTS_FOLDER
from pipeline.session.fusing import fusing_of, groups_of
from pipeline.session.sweep_session import SweepSession
from pipeline.terminal.durations import duration_text
from pipeline.trials.ledger import Ledger

MEGABYTE = 10**6
_KINDS = {"baseline": "baseline", "confirm": "finalists", "audit": "audit"}
"""What the trainings of a stage are called, by stage."""


@dataclass(frozen=True)
class Forecast:
    """What a sweep would take."""

    plan: SweepPlan
    estimate: SweepEstimate
    spans: dict[str, TimeEstimate]
    """The time of each stage that has to run; `start` is the time of the command itself."""
    fusing_gains: Mapping[int, float]
    """How many times as fast fusing makes a trial, by index; only trials that will be fused are in it."""

    @property
    def total(self) -> TimeEstimate:
        return TimeEstimate.sum(self.spans.values())


def sweep_plan(session: SweepSession) -> SweepPlan:
    """What the session's sweep consists of; within a budget, with the trials that are expected to fit into it."""
    data, config, slots = session.dataset, session.config, session.allotment.concurrent
    specs = session.specs if config.budget is None else session.specs[: config.budget.trials]
    fusing, groups = fusing_of(config), groups_of(config, specs)
    parts = [part for group in groups if fusing for part in in_parts(group, slots, fusing.most)]
    return SweepPlan(
        specs=tuple(specs),
        rungs=session.rungs,
        concurrent=slots,
        final_concurrent=session.final_allotment.concurrent,
        train_images=len(data.train),
        validation_images=len(data.validation),
        test_images=len(data.test),
        finalists=config.finalists,
        seeds=config.seeds,
        workers=session.allotment.workers,
        held=session.baseline_slots,
        audited=config.audit,
        fused=tuple(tuple(spec.index for spec in part) for part in parts),
    )


def forecast_sweep(session: SweepSession, planned: GraphPlan) -> Forecast:
    """Estimates what is left of a sweep, by timing steps on the Ray cluster on which the trials would run."""
    with connected(session.config.address):
        plan, calibration = sweep_plan(session), calibrate(session)
    if not {"search", "baseline"} <= planned.running:
        plan = replace(plan, held=0)
    if "search" in planned.running:
        plan = replace(plan, ended=_ended_trials(session, plan))
    estimate = sweep_estimate(calibration, plan)
    return Forecast(plan, estimate, _spans(estimate, planned), calibration.fusing_gains)


def _ended_trials(session: SweepSession, plan: SweepPlan) -> frozenset[int]:
    """Returns the planned trials that have ended and will not run again, read as `search.tuner` reads them."""
    return frozenset(Ledger(session.trials_folder, list(plan.specs), fixed=session.config.search == "random").ended)


def _spans(estimate: SweepEstimate, planned: GraphPlan) -> dict[str, TimeEstimate]:
    """Returns the time of the command itself and of each stage that runs.

    If the search runs, its time includes the baseline's trainings beside it.
    """
    running = ["start", *(name for name in planned.decisions if name in planned.running)]
    known = estimate.stages if "search" in running else {**estimate.stages, "baseline": estimate.baseline}
    return {name: known[name] for name in running if name in known}


def forecast_lines(session: SweepSession, planned: GraphPlan, forecast: Forecast | None) -> list[str]:
    """Describes the stages and, if any has to run, the rungs, epochs, time, resources, disk space and MLflow rows."""
    stages = as_text(_boxes(planned)).splitlines()
    if forecast is None:
        return [*stages, "nothing is left to run"]
    plan, allotment = forecast.plan, session.allotment
    each = f"{allotment.cpus:g} CPU" + (f" and {allotment.gpus:g} GPU" if allotment.gpus else "")
    workers = "" if allotment.workers == 1 else f"{allotment.workers} workers of "
    rows = mlflow_rows(plan, forecast.estimate.search.expected_epochs, session.dataset.num_classes)
    counted = "" if planned.running >= {"search", "baseline", "confirm"} else ", what has finished included"
    times = ", ".join(f"{name} {_to_the_second(span.expected)}" for name, span in forecast.spans.items())
    total = forecast.total
    return [
        *stages,
        *_epoch_lines(planned, forecast),
        f"time: about {_to_the_second(total.expected)}, {_to_the_second(total.worst)} if nothing is stopped ({times})",
        f"at once: {allotment.concurrent} trials, each {workers}{each}, {session.precision}",
        *_fused_lines(session, forecast),
        *_lines_on_earlier_trainings(session, planned, plan),
        f"disk: at most {disk_bytes(plan) / MEGABYTE:,.0f} MB for weights and states{counted}",
        f"MLflow: about {rows:,.0f} rows{counted}",
    ]


def _epoch_lines(planned: GraphPlan, forecast: Forecast) -> list[str]:
    """Says how many epochs the stages that run will train, and how far the trials will get if the search runs."""
    lines, epochs, plan, search = [], [], forecast.plan, forecast.estimate.search
    if "search" in planned.running:
        reaching = ", ".join(f"{epoch}: {count:.0f}" for epoch, count in search.reaching.items())
        lines.append(f"rungs (epoch: trials expected to reach it): {reaching}")
        worst = f"{search.worst_epochs} if nothing is stopped"
        epochs.append(f"{search.expected_epochs:.0f} expected in the search, {worst}")
    trainings = {"baseline": plan.seeds, "confirm": plan.num_finalists * plan.seeds, "audit": plan.num_audited}
    at_full_length = {stage: count for stage, count in trainings.items() if count and stage in planned.running}
    if at_full_length:
        kinds = " and ".join(", ".join(_KINDS[stage] for stage in at_full_length).rsplit(", ", 1))
        epochs.append(f"{sum(at_full_length.values()) * plan.rungs.max_epochs} of {kinds}")
    return [*lines, f"epochs: {'; '.join(epochs)}"] if epochs else lines


def _fused_lines(session: SweepSession, forecast: Forecast) -> list[str]:
    """Says which trials are fused, and which could be fused but would hardly gain anything by it."""
    lines = []
    for group in groups_of(session.config, forecast.plan.specs):
        trials = ", ".join(str(spec.index) for spec in group)
        gain = forecast.fusing_gains.get(group[0].index)
        how = f"fused, {gain:.1f} times as fast" if gain else "not fused, because that is hardly faster here"
        lines.append(f"{how}: trials {trials}")
    return lines


def _lines_on_earlier_trainings(session: SweepSession, planned: GraphPlan, plan: SweepPlan) -> list[str]:
    """Says what earlier commands have trained of the stages that run, and whether the estimated time excludes it."""
    lines = []
    if plan.ended:
        trials = f"{len(plan.ended)} of the {len(plan.specs)} trials"
        lines.append(f"already ended: {trials}; the time leaves them out, all else counts them")
    at_full_length = planned.running & {"baseline", "confirm", "audit"}
    if at_full_length and any(session.has_trained(name) for name in (FINALISTS_FOLDER, AUDIT_FOLDER)):
        lines.append("the time still includes what is already trained of baseline, finalists and audit")
    return lines


def _boxes(planned: GraphPlan) -> list[Box]:
    return [Box(stage.name, stage.inputs, None, planned.decisions[stage.name].reason) for stage in planned.graph]


def _to_the_second(seconds: float) -> str:
    return duration_text(round(seconds))


def forecast_values(planned: GraphPlan, forecast: Forecast | None) -> dict[str, Any]:
    """Returns what `forecast_lines` says as values for programs, with times in seconds."""
    stages = [asdict(box) for box in _boxes(planned)]
    if forecast is None:
        return {"stages": stages, "total_seconds": 0.0, "worst_seconds": 0.0}
    return {
        "stages": stages,
        "search": asdict(forecast.estimate.search),
        "seconds": {name: asdict(span) for name, span in {**forecast.estimate.stages, **forecast.spans}.items()},
        "total_seconds": forecast.total.expected,
        "worst_seconds": forecast.total.worst,
        "disk_bytes": disk_bytes(forecast.plan),
    }
