"""What a sweep leaves on the disk and in MLflow's database, reckoned beforehand."""

from collections.abc import Sequence

from pipeline.planning.sweep_plan import SweepPlan
from tune_spaces.trial_spec import TrialSpec
from vit.model.vision_transformer import count_parameters

BYTES_PER_PARAMETER = 4
"""Weights and moments are kept in fp32."""
METRICS_BESIDE_THE_CLASSES = 7
"""Of an epoch: `pipeline.training.training.epoch_metrics`."""
METRICS_OF_THE_BEST_EPOCH = 3
ROWS_OF_A_RUN = 14
"""The run itself, its tags (`pipeline.*` and MLflow's own) and its parameter `num_parameters`: what was left of the 75
rows that a trial of 2 epochs wrote, which had seven parameters fewer (docs/experiments.md, what a trial costs the
driver)."""


def weights_bytes(spec: TrialSpec) -> int:
    return BYTES_PER_PARAMETER * count_parameters(spec.model)


def state_bytes(spec: TrialSpec) -> int:
    """The whole state of a training: weights, AdamW's two moments, and the weights' average where there is one.

    Muon keeps one moment of the blocks' matrices, and so less.
    """
    return (4 if spec.recipe.ema_decay else 3) * weights_bytes(spec)


def disk_bytes(plan: SweepPlan) -> int:
    """The most that is on the disk at once, in bytes: a training's folder and MLflow each keep its best weights.

    Figures, histories and the database are small beside them.
    """
    trials = [weights_bytes(spec) for spec in plan.specs]
    finalists = plan.seeds * sum(_largest(trials[1:], plan.num_finalists))
    baseline = plan.seeds * trials[0]
    registered = max(trials)
    # A running training also keeps its state and the one before.
    running = 2 * sum(_largest(_states_of_slots(plan), plan.concurrent))
    audited = sum(_largest(trials[1:], plan.num_audited))
    return 2 * (sum(trials) + finalists + baseline + audited) + registered + running


def _states_of_slots(plan: SweepPlan) -> list[int]:
    """Of what a slot may train at a time: a trial, or those that are trained as one."""
    states = {spec.index: state_bytes(spec) for spec in plan.specs}
    fused = [sum(states.pop(index, 0) for index in part) for part in plan.fused]
    return [*fused, *states.values()]


def _largest(sizes: Sequence[int], count: int) -> list[int]:
    return sorted(sizes, reverse=True)[:count]


def mlflow_rows(plan: SweepPlan, trial_epochs: float, num_classes: int) -> float:
    """Metrics, parameters, tags and runs that a sweep adds to MLflow's database.

    Args:
        plan: the sweep.
        trial_epochs: epochs that the trials of the search take in all.
        num_classes: of the data set.
    """
    others = (plan.num_finalists + 1) * plan.seeds + plan.num_audited
    runs = len(plan.specs) + others
    epochs = trial_epochs + others * plan.rungs.max_epochs
    of_each_run = ROWS_OF_A_RUN + METRICS_OF_THE_BEST_EPOCH + len(plan.specs[0].params)
    return runs * of_each_run + epochs * (METRICS_BESIDE_THE_CLASSES + num_classes)
