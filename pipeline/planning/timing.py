"""Times real steps of a few configurations where the trials will run."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from pipeline.cluster.allotment import Allotment
from pipeline.errors import PipelineError
from pipeline.planning.cost import Calibration, TimedModel, specs_to_measure
from pipeline.search.fused_groups import probed
from pipeline.search.fused_trials import gain_of
from pipeline.session.fusing import fusing_of, groups_of
from pipeline.session.sweep_session import SweepSession
from pipeline.training.training import is_out_of_memory
from tune_spaces.trial_spec import TrialSpec
from vit.timing.step_times import StepTimes, measure_step
from vit.training.precision import Precision
from vit.training.runtime import Runtime


@dataclass(frozen=True)
class _Question:
    """What each process is to measure."""

    specs: Sequence[TrialSpec]
    groups: Sequence[Sequence[TrialSpec]]
    """The groups of trials for which the gain of fusing is measured."""
    precision: Precision
    compile: bool
    allotment: Allotment
    images: int


@dataclass(frozen=True)
class _Answer:
    """What one process has measured."""

    begun: float
    """When the process had started, in seconds since 1970."""
    times: list[StepTimes]
    gains: list[float]
    too_large: int | None = None
    """The index of a trial that found no memory; then nothing else is known."""


def calibrate(session: SweepSession) -> Calibration:
    """Times real steps of a few configurations where the trials will run.

    They are timed in as many processes at the same time as there will be workers.

    Raises:
        PipelineError: a model is too large for the memory.
    """
    allotment, images = session.allotment, len(session.dataset.train)
    specs = specs_to_measure([_of_a_worker(spec, images, allotment.workers) for spec in session.specs])
    fusing, groups = fusing_of(session.config), groups_of(session.config, session.specs)
    # `max_calls=1` takes a new process for each call, since its start is a part of what is measured.
    task: Any = ray.remote(max_calls=1)(_measure).options(num_cpus=allotment.cpus, num_gpus=allotment.gpus)
    begun = time.time()
    parts = [probed(group, allotment.concurrent, fusing) for group in groups if fusing]
    question = _Question(specs, parts, session.precision, session.config.compile, allotment, images)
    processes = allotment.concurrent * allotment.workers
    answers: list[_Answer] = ray.get([task.remote(question) for _ in range(processes)])
    for answer in answers:
        if answer.too_large is not None:
            raise PipelineError(
                f"trial {answer.too_large} finds no memory, so its time cannot be measured: give a --space with smaller"
                " models, or leave out --plan and --budget"
            )
    start = max(answer.begun for answer in answers) - begun
    # The slowest process decides when a search ends.
    slowest = [
        max(times, key=lambda each: each.step_seconds)
        for times in zip(*(answer.times for answer in answers), strict=True)
    ]
    measured = tuple(TimedModel(spec.model, times) for spec, times in zip(specs, slowest, strict=True))
    gains = [min(each) for each in zip(*(answer.gains for answer in answers), strict=True)]
    fused = [each for each in zip(groups, gains, strict=True) if each[1] and fusing and fusing.applies_to(each[1])]
    of_trials = {spec.index: gain for group, gain in fused for spec in group}
    return Calibration(measured, max(start, 0.1), session.precision, of_trials)


def _of_a_worker(spec: TrialSpec, images: int, workers: int) -> TrialSpec:
    """Returns the trial with the batch size of one of its workers: that worker's share of a batch."""
    share = math.ceil(min(spec.recipe.batch_size, images) / workers)
    return replace(spec, recipe=replace(spec.recipe, batch_size=share))


def _measure(question: _Question) -> _Answer:
    begun = time.time()
    torch.set_num_threads(max(1, int(question.allotment.cpus)))
    device = torch.device("cuda" if question.allotment.gpus else "cpu")
    if 0 < question.allotment.gpus < 1:
        torch.cuda.set_per_process_memory_fraction(question.allotment.gpus)  # as in the trials
    runtime = Runtime(device, question.precision, question.compile)
    times = []
    for spec in question.specs:
        try:
            times.append(measure_step(spec.model, spec.recipe, runtime, question.images))
        except Exception as error:
            if is_out_of_memory(error):
                return _Answer(begun, [], [], spec.index)
            raise
    return _Answer(begun, times, [gain_of(group, runtime) for group in question.groups])
