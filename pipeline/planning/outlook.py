"""`--plan`: what a sweep would run, why, and what it would take, without running any of it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ray
import torch

from pipeline.cluster import Allotment, connected
from pipeline.orchestration import Planned
from pipeline.planning.budget import duration_text
from pipeline.planning.cost import Calibration, Measured, specs_to_measure
from pipeline.planning.estimate import Seconds, SweepEstimate, sweep_estimate
from pipeline.planning.footprint import disk_bytes, mlflow_rows
from pipeline.planning.plan import SweepPlan
from pipeline.report.boxes import Box
from pipeline.report.drawing import as_text
from pipeline.sweep_session import SweepSession
from tune_spaces.space import TrialSpec
from vit.calibration import StepTimes, measure_step
from vit.fit import Runtime
from vit.precision import Precision

MEGABYTE = 10**6


@dataclass(frozen=True)
class Outlook:
    """What a sweep would take."""

    plan: SweepPlan
    estimate: SweepEstimate
    spans: dict[str, Seconds]
    """Of the stages that have to run; `start` is of the command itself."""

    @property
    def total(self) -> Seconds:
        return Seconds.sum(self.spans.values())


def calibrate(session: SweepSession) -> Calibration:
    """Times real steps of a few configurations where trials will run, as many side by side as there will be trials."""
    specs = specs_to_measure(session.specs)
    allotment, images = session.allotment, len(session.dataset.train)
    # Each time in a new process, whose start is a part of what is measured.
    task: Any = ray.remote(max_calls=1)(_measure).options(num_cpus=allotment.cpus, num_gpus=allotment.gpus)
    begun = time.time()
    question = (specs, session.precision, session.config.compile, allotment, images)
    answers: list[tuple[float, list[StepTimes]]] = ray.get(
        [task.remote(*question) for _ in range(allotment.concurrent)]
    )
    start = max(started for started, _ in answers) - begun
    # The slowest place decides when a search ends.
    slowest = [
        max(times, key=lambda each: each.step_seconds) for times in zip(*(told for _, told in answers), strict=True)
    ]
    measured = tuple(Measured(spec.model, times) for spec, times in zip(specs, slowest, strict=True))
    return Calibration(measured, max(start, 0.1), session.precision)


def _measure(
    specs: Sequence[TrialSpec], precision: Precision, compile: bool, allotment: Allotment, images: int
) -> tuple[float, list[StepTimes]]:
    """When this process had begun, and what it measured."""
    begun = time.time()
    torch.set_num_threads(max(1, int(allotment.cpus)))
    device = torch.device("cuda" if allotment.gpus else "cpu")
    runtime = Runtime(device, precision, compile)
    return begun, [measure_step(spec.model, spec.recipe, runtime, images) for spec in specs]


def sweep_plan(session: SweepSession) -> SweepPlan:
    """What the session's sweep consists of."""
    data, config = session.dataset, session.config
    return SweepPlan(
        tuple(session.specs), session.rungs, session.allotment.concurrent, len(data.train), len(data.validation),
        len(data.test), config.finalists, config.seeds, config.audit,
    )  # fmt: skip


def foresee(session: SweepSession, planned: Planned) -> Outlook:
    """Measures, on the Ray on which the trials would run, what is left of a sweep."""
    with connected(session.config.address):
        plan, calibration = sweep_plan(session), calibrate(session)
    estimate = sweep_estimate(calibration, plan)
    running = {"start", *(name for name, verdict in planned.verdicts.items() if verdict.hit is None)}
    return Outlook(plan, estimate, {name: span for name, span in estimate.stages.items() if name in running})


def outlook_lines(session: SweepSession, planned: Planned, outlook: Outlook | None) -> list[str]:
    """In words: the stages and, where some have to run, the ladder, epochs, time, resources, disk and rows."""
    stages = as_text(_boxes(planned)).splitlines()
    if outlook is None:
        return [*stages, "nothing is left to run"]
    search, allotment = outlook.estimate.search, session.allotment
    reaching = ", ".join(f"{epoch}: {count:.0f}" for epoch, count in search.reaching.items())
    plan = outlook.plan
    others = ((plan.num_finalists + 1) * plan.seeds + plan.num_audited) * session.rungs.max_epochs
    kinds = "baseline, finalists and audit" if plan.num_audited else "baseline and finalists"
    each = f"{allotment.cpus:g} CPU" + (f" and {allotment.gpus:g} GPU" if allotment.gpus else "")
    workers = "" if allotment.workers == 1 else f"{allotment.workers} workers of "
    rows = mlflow_rows(plan, search.expected_epochs, session.dataset.num_classes)
    times = ", ".join(f"{name} {_clock(span.expected)}" for name, span in outlook.spans.items())
    total = outlook.total
    return [
        *stages,
        f"rungs (epoch: trials expected to reach it): {reaching}",
        f"epochs: {search.expected_epochs:.0f} expected in the search, {search.worst_epochs} if nothing is stopped; "
        f"{others} of {kinds}",
        f"time: about {_clock(total.expected)}, {_clock(total.worst)} if nothing is stopped ({times})",
        f"at once: {allotment.concurrent} trials, each {workers}{each}, {session.precision}",
        f"disk: at most {disk_bytes(plan) / MEGABYTE:,.0f} MB for weights and states",
        f"MLflow: about {rows:,.0f} rows",
    ]


def _boxes(planned: Planned) -> list[Box]:
    return [Box(stage.name, stage.inputs, None, planned.verdicts[stage.name].reason) for stage in planned.graph]


def _clock(seconds: float) -> str:
    return duration_text(round(seconds))


def outlook_values(planned: Planned, outlook: Outlook | None) -> dict[str, Any]:
    """The same for programs: times in seconds."""
    stages = [asdict(box) for box in _boxes(planned)]
    if outlook is None:
        return {"stages": stages, "total_seconds": 0.0, "worst_seconds": 0.0}
    return {
        "stages": stages,
        "search": asdict(outlook.estimate.search),
        "seconds": {name: asdict(span) for name, span in outlook.estimate.stages.items()},
        "total_seconds": outlook.total.expected,
        "worst_seconds": outlook.total.worst,
        "disk_bytes": disk_bytes(outlook.plan),
    }
