"""Estimates, before a sweep runs, how much it writes to the disk and to MLflow's database."""

from collections.abc import Sequence

from pipeline.planning.sweep_plan import SweepPlan
from tune_spaces.trial_spec import TrialSpec
from vit.model.vision_transformer import count_parameters

BYTES_PER_PARAMETER = 4
"""Weights and the optimizer's moments are kept in fp32."""
METRICS_BESIDE_THE_CLASSES = 7
"""Metrics of an epoch besides the accuracy of each class (`pipeline.training.epoch_metrics`)."""
METRICS_OF_THE_BEST_EPOCH = 3
TEST_METRICS_BESIDE_THE_CLASSES = 2
ROWS_OF_A_RUN = 15
"""Rows for the run itself, its parameter `num_parameters` and its tags, `pipeline.*` and MLflow's own: 12 to 14."""


def weights_bytes(spec: TrialSpec) -> int:
    return BYTES_PER_PARAMETER * count_parameters(spec.model)


def state_bytes(spec: TrialSpec) -> int:
    """Returns the size of a training's state: weights, AdamW's two moments, and the weights' average if there is one.

    Muon keeps only one moment for the matrices of the blocks, so its state is smaller than this.
    """
    return (4 if spec.recipe.ema_decay else 3) * weights_bytes(spec)


def disk_bytes(plan: SweepPlan) -> int:
    """Returns the most bytes that a sweep has on the disk at any time.

    The best weights of each training are kept twice, in its folder and by MLflow. Figures, histories and the database
    are small beside them and are not counted.
    """
    trials = [weights_bytes(spec) for spec in plan.specs]
    finalists = plan.seeds * sum(_largest(trials[1:], plan.num_finalists))
    baseline = plan.seeds * trials[0]
    registered = max(trials)
    # A running training also keeps its last two states.
    running = 2 * sum(_largest(_states_of_slots(plan), plan.concurrent))
    audited = sum(_largest(trials[1:], plan.num_audited))
    return 2 * (sum(trials) + finalists + baseline + audited) + registered + running


def _states_of_slots(plan: SweepPlan) -> list[int]:
    """Returns the state sizes of what a slot may train at a time: a single trial, or a group of fused trials."""
    states = {spec.index: state_bytes(spec) for spec in plan.specs}
    fused = [sum(states.pop(index, 0) for index in part) for part in plan.fused]
    return [*fused, *states.values()]


def _largest(sizes: Sequence[int], count: int) -> list[int]:
    return sorted(sizes, reverse=True)[:count]


def mlflow_rows(plan: SweepPlan, trial_epochs: float, num_classes: int) -> float:
    """Estimates how many rows a sweep adds to MLflow's database, for runs, metrics, parameters and tags.

    Args:
        plan: the sweep.
        trial_epochs: how many epochs the trials of the search train in all.
        num_classes: the data set's number of classes.
    """
    tested = (plan.num_finalists + 1) * plan.seeds
    others = tested + plan.num_audited
    runs = len(plan.specs) + others
    epochs = trial_epochs + others * plan.rungs.max_epochs
    of_each_run = ROWS_OF_A_RUN + METRICS_OF_THE_BEST_EPOCH + len(plan.specs[0].params)
    of_each_epoch = METRICS_BESIDE_THE_CLASSES + num_classes
    return runs * of_each_run + epochs * of_each_epoch + tested * (TEST_METRICS_BESIDE_THE_CLASSES + num_classes)
