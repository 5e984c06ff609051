"""How long a sweep would take, stage by stage."""

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
"""Of a slot, for a trial's start, end and figures: 100 trials of next to nothing took two slots 22 s longer than 10
trials (docs/experiments.md, what a trial costs the driver)."""
EPOCH_SECONDS, SAVED_BYTES_PER_SECOND = 0.01, 400e6
"""Writing the state after an epoch: 20 ms for 4 MB and 90 ms for 32 MB (docs/experiments.md, the sweep on digits)."""

# What follows comes in starts of a process, `Calibration.start_seconds`, since most of it is importing. One was 3 s
# where the figures were taken: 2 cores, torch 2.15.
COMMAND_STARTS = 3.5
"""Ray's start, the command's own imports and its end: 10.5 s (docs/experiments.md, commands that start faster)."""
RAY_TRAIN_STARTS = 4.0
"""A run of Ray Train: its controller and its worker, some 10 to 20 s (docs/experiments.md, workers that stay)."""
PREPARE_STARTS = 0.1
"""It imports nothing; the images are read before it."""
EVALUATE_STARTS, REGISTER_STARTS, REPORT_STARTS = 2.0, 1.0, 0.5
"""A worker's start and the images' way there (4.6 to 5.5 s); torch.export and MLflow's own (1.1 to 1.8 s); figures and
page (0.3 to 0.9 s): two sweeps on digits where a start took 2.7 s."""
FP32_COST: dict[Precision, float] = {"fp32": 1.0, "bf16": 3.0}
"""The test images are read in fp32: 78 images/s where bf16 did 236 (docs/experiments.md, two workers against one)."""


@dataclass(frozen=True)
class TimeEstimate:
    """How long something takes."""

    expected: float
    worst: float
    """If ASHA stops nothing, and the longest configurations become the finalists."""

    @staticmethod
    def sum(spans: "Iterable[TimeEstimate]") -> "TimeEstimate":
        """Of what comes one after another."""
        each = list(spans)
        return TimeEstimate(sum(span.expected for span in each), sum(span.worst for span in each))


@dataclass(frozen=True)
class SweepEstimate:
    """What a sweep is expected to take."""

    stages: dict[str, TimeEstimate]
    """In their order. `start` is the command's own; `search` has the baseline's trainings beside it, if it does."""
    search: SearchEstimate
    baseline: TimeEstimate
    """Its trainings alone, where no search runs beside them."""

    @property
    def total(self) -> TimeEstimate:
        return TimeEstimate.sum(self.stages.values())


def sweep_estimate(calibration: Calibration, plan: SweepPlan) -> SweepEstimate:
    """All stages of a sweep, one after another, but for `baseline` beside the search."""
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
    """The search, while the published configuration's trainings hold some of the slots until they are done."""
    slots = Slots(_slots_free_at(calibration, plan), TRIAL_SECONDS)
    return simulate_search([_epoch_in_search(calibration, plan, spec) for spec in plan.specs], plan.rungs, slots)


def _slots_free_at(calibration: Calibration, plan: SweepPlan) -> tuple[float, ...]:
    """When each slot has the process of its first trial."""
    start = calibration.start_seconds
    held = min(plan.held, plan.concurrent)
    # Several are held where trials share GPUs, and the search then waits for the baseline's workers.
    waited = RAY_TRAIN_STARTS * start if held > 1 else 0.0
    over = _baseline_seconds(calibration, plan)
    return (*[over + start] * held, *[waited + start] * (plan.concurrent - held))


def _epoch_in_search(calibration: Calibration, plan: SweepPlan, spec: TrialSpec) -> float:
    """Of a trial that is trained as one with others, its share: as if they ran one after another, but faster.

    The fewer are left of them, the less they gain; that is not reckoned with.
    """
    if spec.index in plan.ended:
        return 0.0
    return _saved_epoch_seconds(calibration, plan, spec) / calibration.fusing_gains.get(spec.index, 1.0)


def _saved_epoch_seconds(calibration: Calibration, plan: SweepPlan, spec: TrialSpec) -> float:
    """An epoch with all that is written at its end."""
    pure = epoch_seconds(calibration, spec, plan.train_images, plan.validation_images, plan.workers)
    return pure + EPOCH_SECONDS + state_bytes(spec) / SAVED_BYTES_PER_SECOND


def _baseline_seconds(calibration: Calibration, plan: SweepPlan) -> float:
    """The published configuration's trainings, one after another."""
    return _in_turn(calibration, plan, plan.seeds, _saved_epoch_seconds(calibration, plan, plan.specs[0]))


def _in_turn(calibration: Calibration, plan: SweepPlan, trainings: int, of_an_epoch: float) -> float:
    """Trainings at full length, one after another, on workers of Ray Train that start once."""
    return RAY_TRAIN_STARTS * calibration.start_seconds + trainings * plan.rungs.max_epochs * of_an_epoch


def _confirm(calibration: Calibration, plan: SweepPlan) -> TimeEstimate:
    """As many trainings of finalists at once as there is room for; all are taken for equally long."""
    epochs = _of_a_finalist([_saved_epoch_seconds(calibration, plan, spec) for spec in plan.specs[1:]])
    if not plan.num_finalists:
        return _certain(0.0)
    rounds = math.ceil(plan.num_finalists * plan.seeds / plan.final_concurrent)
    return TimeEstimate(*(_in_turn(calibration, plan, rounds, each) for each in (epochs.expected, epochs.worst)))


def _audit(calibration: Calibration, plan: SweepPlan) -> TimeEstimate:
    """A small search in which nothing is stopped; the trials that ASHA stopped are taken for as long as finalists."""
    epochs = _of_a_finalist([_saved_epoch_seconds(calibration, plan, spec) for spec in plan.specs[1:]])
    rounds = math.ceil(plan.num_audited / plan.concurrent)
    of_a_round = (TRIAL_SECONDS + plan.rungs.max_epochs * each for each in (epochs.expected, epochs.worst))
    return TimeEstimate(*(calibration.start_seconds + rounds * each for each in of_a_round))


def _evaluate(calibration: Calibration, plan: SweepPlan) -> TimeEstimate:
    """The finalists and the published configuration, as often as they were trained, on the test images.

    Each takes a process, which has what a worker has in training.
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
    """A finalist's cost, given that of each trial but the published one.

    Nobody knows which will win. The median is expected: a few configurations cost ten times what most do, and would
    decide a mean.
    """
    return TimeEstimate(median(costs), max(costs)) if costs else _certain(0.0)  # where there are no others
