"""Timing real steps of a few configurations where the trials will run."""

import time
from collections.abc import Sequence
from typing import Any

import ray
import torch

from pipeline.cluster.allotment import Allotment
from pipeline.planning.cost import Calibration, TimedModel, specs_to_measure
from pipeline.session.sweep_session import SweepSession
from tune_spaces.trial_spec import TrialSpec
from vit.timing.step_times import StepTimes, measure_step
from vit.training.precision import Precision
from vit.training.runtime import Runtime


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
    # The slowest slot decides when a search ends.
    slowest = [
        max(times, key=lambda each: each.step_seconds) for times in zip(*(each for _, each in answers), strict=True)
    ]
    measured = tuple(TimedModel(spec.model, times) for spec, times in zip(specs, slowest, strict=True))
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
