"""Chooses a sweep that fits into the time (`--budget`), and the same sweep again when the command is repeated."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console

from pipeline.config import Budget, SweepConfig
from pipeline.graph.fingerprint import fingerprint
from pipeline.planning.budget import SweepSize, fit_budget
from pipeline.planning.cost import Calibration
from pipeline.planning.estimate import RAY_TRAIN_STARTS, SweepEstimate, sweep_estimate
from pipeline.planning.forecast import sweep_plan
from pipeline.planning.sweep_plan import SweepPlan
from pipeline.planning.timing import calibrate
from pipeline.session.folder import absolute_storage
from pipeline.session.lifecycle import folder_of, open_session
from pipeline.session.sweep_session import SweepSession, rungs_of
from pipeline.terminal.durations import duration_text, parse_duration
from vit.data.dataset import limited_validation
from vit.files.storage import Folder

IMAGES_PER_CLASS = 10
"""A budget leaves at least this many training images per class."""
DECIDE_TIME = ("trials", "finalists", "seeds", "audit", "workers_per_trial", "resources", "fuse", "address")
"""Fields of a sweep's configuration that may change how long it takes, but not the name of its folder."""


def fit_to_budget(config: SweepConfig, budget: str, started: float, console: Console) -> SweepConfig:
    """Returns the configuration, with fewer epochs or training images where the budget requires it.

    It keeps its number of trials: a sweep starts as many as there is time for, so that the budget is neither exceeded
    nor left unused. `Budget.trials` says how many that is expected to be.

    Prints what was chosen and keeps it in the storage, so that the same command resumes the same sweep.

    Args:
        config: what would run without a budget.
        budget: the time as the user gave it, such as `90m`.
        started: when the command began, in seconds since 1970; the time since then counts as spent.

    Raises:
        UsageError: the budget is not a time, or is too short for the smallest sweep.
    """
    seconds = parse_duration(budget)
    with open_session(SweepSession, config, console) as session:
        kept = Folder(absolute_storage(config.storage)) / "budgets"
        name = f"{fingerprint(_choice_key(session, seconds))}.json"
        known = BudgetChoice.read(kept, name)
        choice = known or _choose(session, seconds, started)
        if known is None:
            choice.write(kept, name)
    size = choice.size
    how = "as chosen before" if known else f"expected to take {duration_text(round(choice.seconds))}"
    more = f"; more trials, up to {config.trials}, if there is time" if size.trials < config.trials else ""
    console.out(f"budget {duration_text(seconds)}: {size}, {how}{more}", highlight=False)
    resized = _resized(config, size, all_images=len(session.dataset.train))
    kept_to = Budget(
        seconds=seconds, deadline=started + seconds, trials=size.trials, finalists_seconds=choice.finalists_seconds,
        fixed_seconds=choice.fixed_seconds,
    )  # fmt: skip
    return replace(resized, budget=kept_to)


def _choice_key(session: SweepSession, seconds: float) -> dict[str, Any]:
    """Returns everything that a choice depends on, and nothing else; the fingerprint of it names the choice's file.

    A setting that changes neither the size nor the time of a sweep must not lead to another choice, and so to training
    the sweep a second time. For the same reason the sweep is named by the first of its folders, whichever of them
    (`<folder>-2` and so on) the command uses.
    """
    config = asdict(session.config)
    first = folder_of(SweepSession, session.config, session.dataset).rpartition("/")[2]
    return {"sweep": first, "budget": seconds, **{name: config[name] for name in DECIDE_TIME}}


@dataclass(frozen=True)
class BudgetChoice:
    """The size of the sweep that fits into a budget, and the seconds that it is expected to take."""

    size: SweepSize
    seconds: float
    """Expected for the whole command, including the time before the choice."""
    finalists_seconds: float
    """The part of `seconds` for the epochs of the finalists."""
    fixed_seconds: float
    """The part of `seconds` for everything else that follows the search."""

    def write(self, folder: Folder, name: str) -> None:
        folder.write(name, json.dumps(asdict(self)).encode(), durable=True)

    @staticmethod
    def read(folder: Folder, name: str) -> "BudgetChoice | None":
        """Reads a choice; None where there is none yet or its file is broken: a new choice then overwrites the file."""
        if not folder.exists(name):
            return None
        try:
            values = json.loads(folder.read(name))
            return BudgetChoice(**{**values, "size": SweepSize(**values["size"])})
        except (ValueError, TypeError, KeyError):
            return None


def _choose(session: SweepSession, seconds: float, started: float) -> BudgetChoice:
    plan, dataset = sweep_plan(session), session.dataset
    calibration = calibrate(session)
    most = SweepSize(len(plan.specs), plan.rungs.max_epochs, plan.train_images)
    least = min(IMAGES_PER_CLASS * dataset.num_classes, plan.train_images)
    estimate = _estimator(session, plan, calibration)
    spent = time.time() - started
    size = fit_budget(seconds, most, least, lambda size: spent + estimate(size).total.expected)
    found = estimate(size)
    starting = RAY_TRAIN_STARTS * calibration.start_seconds
    fixed = [
        found.stages[name].expected for name in ("evaluate", "register", "audit", "report") if name in found.stages
    ]
    finalists = max(0.0, found.stages["confirm"].expected - starting)
    return BudgetChoice(size, spent + found.total.expected, finalists, starting + sum(fixed))


def _estimator(
    session: SweepSession, plan: SweepPlan, calibration: Calibration
) -> Callable[[SweepSize], SweepEstimate]:
    """Returns a function that estimates how long a sweep of a given size takes."""
    classes = session.dataset.num_classes

    def estimate(size: SweepSize) -> SweepEstimate:
        specs = tuple(
            replace(spec, recipe=replace(spec.recipe, epochs=size.max_epochs)) for spec in plan.specs[: size.trials]
        )
        resized = replace(
            plan,
            specs=specs,
            rungs=rungs_of(_resized(session.config, size, plan.train_images), session.space),
            train_images=size.train_images,
            validation_images=limited_validation(plan.validation_images, size.train_images, classes)
            if size.train_images < plan.train_images
            else plan.validation_images,
        )
        return sweep_estimate(calibration, resized)

    return estimate


def _resized(config: SweepConfig, size: SweepSize, all_images: int) -> SweepConfig:
    fewer_images = size.train_images < all_images
    return replace(
        config,
        max_epochs=size.max_epochs,
        grace_epochs=config.grace_epochs and min(config.grace_epochs, size.max_epochs),
        data=replace(config.data, train_limit=size.train_images) if fewer_images else config.data,
    )
