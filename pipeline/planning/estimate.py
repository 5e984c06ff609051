"""Estimates how long a sweep would take, stage by stage."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from pipeline.planning.cost import Calibration, epoch_seconds
from pipeline.planning.footprint import state_bytes
from pipeline.planning.simulation import SearchEstimate, Slots, simulate_search
from pipeline.planning.sweep_plan import SweepPlan
from tune_spaces.trial_spec import TrialSpec
from vit.training.precision import Precision

TRIAL_SECONDS = 0.5
"""What a slot spends on a trial's start, end and figures: on two slots, 100 trials with almost no training took 22 s
longer than 10 such trials (docs/experiments.md, what a trial costs the driver)."""
EPOCH_SECONDS, SAVED_BYTES_PER_SECOND = 0.01, 400e6
"""Saving the state after an epoch: 20 ms for 4 MB and 90 ms for 32 MB (docs/experiments.md, the sweep on digits)."""

# The following times are multiples of the time that a process takes to start, `Calibration.start_seconds`, since most
# of each is importing. A start took 3 s where they were measured: 2 cores, torch 2.15.
COMMAND_STARTS = 3.5
"""Starting Ray, the command's own imports and its end: 10.5 s (docs/experiments.md, commands that start faster)."""
RAY_TRAIN_STARTS = 4.0
"""Starting a run of Ray Train, its controller and worker: 10 s and more (docs/experiments.md, workers that stay)."""
PREPARE_STARTS = 0.1
"""Small, since the stage imports nothing and the images are read before it starts."""
EVALUATE_STARTS, REGISTER_STARTS, REPORT_STARTS = 2.0, 1.0, 0.5
"""`evaluate`: starting a worker and sending it the images (4.6 to 5.5 s). `register`: torch.export and MLflow's part
(1.1 to 1.8 s). `report`: figures and page (0.3 to 0.9 s). Measured in two sweeps on digits where a start took 2.7 s."""
FP32_COST: dict[Precision, float] = {"fp32": 1.0, "bf16": 3.0}
"""How many times as long evaluating the test images takes as validating as many, by the sweep's precision.

Test images are always evaluated in fp32: one worker trained 72 images/s in fp32 where it trained 217 in bf16
(docs/experiments.md, two workers against one)."""


@dataclass(frozen=True)
class TimeEstimate:
    """How long something takes, in seconds."""

    expected: float
    worst: float
    """The time if ASHA stops nothing and the slowest configurations become the finalists."""

    @staticmethod
    def sum(spans: "Iterable[TimeEstimate]") -> "TimeEstimate":
        """Returns the total of things that run one after another."""
        each = list(spans)
        return TimeEstimate(sum(span.expected for span in each), sum(span.worst for span in each))


@dataclass(frozen=True)
class SweepEstimate:
    """What a sweep is expected to take."""

    stages: dict[str, TimeEstimate]
    """In the order of the stages. `start` is the command's own time. `search` includes the baseline's trainings
    where they run beside it."""
    search: SearchEstimate
    baseline: TimeEstimate
    """The baseline's trainings alone, for a command in which no search runs beside them."""

    @property
    def total(self) -> TimeEstimate:
        return TimeEstimate.sum(self.stages.values())


def sweep_estimate(calibration: Calibration, plan: SweepPlan) -> SweepEstimate:
    """Estimates all stages of a sweep, as if they ran one after another, except for `baseline` beside the search."""
    start = calibration.start_seconds
    search = search_estimate(calibration, plan)
    baseline = _baseline_seconds(calibration, plan)
    beside = baseline if plan.held else 0.0
    stages = {
        "start": _certain(start * COMMAND_STARTS),
        "prepare": _certain(start * PREPARE_STARTS),
        "search": TimeEstimate(max(search.expected_seconds, beside), max(search.worst_seconds, beside)),
        "confirm": _confirm(calibration, plan),
        "evaluate": _evaluate(calibration, plan),
        "register": _certain(start * REGISTER_STARTS),
        **({"audit": _audit(calibration, plan)} if plan.num_audited else {}),
        "report": _certain(start * REPORT_STARTS),
    }
    return SweepEstimate(stages, search, _certain(baseline))


def _certain(seconds: float) -> TimeEstimate:
    return TimeEstimate(seconds, seconds)


def search_estimate(calibration: Calibration, plan: SweepPlan) -> SearchEstimate:
    """Estimates the search; the published configuration's trainings hold some of its slots until they are done."""
    slots = Slots(_slots_free_at(calibration, plan), TRIAL_SECONDS)
    return simulate_search([_epoch_in_search(calibration, plan, spec) for spec in plan.specs], plan.rungs, slots)


def _slots_free_at(calibration: Calibration, plan: SweepPlan) -> tuple[float, ...]:
    """Returns when the process of each slot's first trial has started, in seconds from the start of the search."""
    start = calibration.start_seconds
    held = min(plan.held, plan.concurrent)
    # Several slots are held only if trials share GPUs, and the search then waits for the baseline's workers to start.
    waited = RAY_TRAIN_STARTS * start if held > 1 else 0.0
    over = _baseline_seconds(calibration, plan)
    return (*[over + start] * held, *[waited + start] * (plan.concurrent - held))


def _epoch_in_search(calibration: Calibration, plan: SweepPlan, spec: TrialSpec) -> float:
    """Returns the seconds of a trial's epoch in the search; 0 for a trial that has ended.

    For a fused trial they are its share of the time, as if the fused trials ran one after another, but faster. The
    fewer of these trials are left, the smaller the gain of fusing; the estimate ignores that.
    """
    if spec.index in plan.ended:
        return 0.0
    return _saved_epoch_seconds(calibration, plan, spec) / calibration.fusing_gains.get(spec.index, 1.0)


def _saved_epoch_seconds(calibration: Calibration, plan: SweepPlan, spec: TrialSpec) -> float:
    """Returns the seconds of an epoch, including what is written at its end."""
    pure = epoch_seconds(calibration, spec, plan.train_images, plan.validation_images, plan.workers)
    return pure + EPOCH_SECONDS + state_bytes(spec) / SAVED_BYTES_PER_SECOND


def _baseline_seconds(calibration: Calibration, plan: SweepPlan) -> float:
    """Returns the seconds of the published configuration's trainings, which run one after another."""
    return _in_turn(calibration, plan, plan.seeds, _saved_epoch_seconds(calibration, plan, plan.specs[0]))


def _in_turn(calibration: Calibration, plan: SweepPlan, trainings: int, of_an_epoch: float) -> float:
    """Returns the seconds of full-length trainings one after another, on Ray Train workers that start only once."""
    return RAY_TRAIN_STARTS * calibration.start_seconds + trainings * plan.rungs.max_epochs * of_an_epoch


def _confirm(calibration: Calibration, plan: SweepPlan) -> TimeEstimate:
    """Estimates the finalists' trainings, as many at a time as there is room for, as if all took equally long."""
    epochs = _of_a_finalist([_saved_epoch_seconds(calibration, plan, spec) for spec in plan.specs[1:]])
    if not plan.num_finalists:
        return _certain(0.0)
    rounds = math.ceil(plan.num_finalists * plan.seeds / plan.final_concurrent)
    return TimeEstimate(*(_in_turn(calibration, plan, rounds, each) for each in (epochs.expected, epochs.worst)))


def _audit(calibration: Calibration, plan: SweepPlan) -> TimeEstimate:
    """Estimates the audit as a small search in which nothing is stopped and whose trials take as long as finalists."""
    epochs = _of_a_finalist([_saved_epoch_seconds(calibration, plan, spec) for spec in plan.specs[1:]])
    rounds = math.ceil(plan.num_audited / plan.concurrent)
    of_a_round = (TRIAL_SECONDS + plan.rungs.max_epochs * each for each in (epochs.expected, epochs.worst))
    return TimeEstimate(*(calibration.start_seconds + rounds * each for each in of_a_round))


def _evaluate(calibration: Calibration, plan: SweepPlan) -> TimeEstimate:
    """Estimates evaluating the finalists and the published configuration, once per training, on the test images.

    Each evaluation takes one process, with the same resources as a worker in training.
    """
    published, *others = (calibration.validation_seconds(spec.model, plan.test_images) for spec in plan.specs)
    finalist = _of_a_finalist(others)
    start = EVALUATE_STARTS * calibration.start_seconds
    models = plan.num_finalists + 1
    at_once = min(plan.final_concurrent * plan.workers, plan.seeds * models)
    share = plan.seeds * FP32_COST[calibration.precision] / at_once
    expected, worst = (
        start + share * (published + plan.num_finalists * each) for each in (finalist.expected, finalist.worst)
    )
    return TimeEstimate(expected, worst)


def _of_a_finalist(costs: Sequence[float]) -> TimeEstimate:
    """Estimates a finalist's cost from the costs of all trials except the published one.

    Which trials become finalists is not known in advance. The expected cost is the median, because a few configurations
    cost ten times as much as most and would dominate a mean.
    """
    return TimeEstimate(median(costs), max(costs)) if costs else _certain(0.0)  # there may be no other trial
