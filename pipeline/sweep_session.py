"""A sweep's session: its space, its trials, and what each may take."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rich.console import Console

from pipeline.cluster import Allotment, allot, cluster_cores
from pipeline.code_digest import code_digests
from pipeline.config import SweepConfig
from pipeline.dag import Plain
from pipeline.exits import UsageError
from pipeline.planning.budget import duration_text
from pipeline.precision import precision_of
from pipeline.report.boxes import StageOutcome
from pipeline.session import Session
from pipeline.trials.rungs import Rungs
from pipeline.trials.runs import SWEEP_RUN
from pipeline.watchdog import Watchdog
from tune_spaces import SPACES, space_for
from tune_spaces.space import Space, describe, draw_trials
from vit.data import Dataset
from vit.precision import Precision
from vit.recipes import published

SEARCH_CODE = (
    "pipeline.ranking", "pipeline.search", "pipeline.trials.rungs", "pipeline.trials.training", "pipeline.trials.trial",
)  # fmt: skip
"""What decides a trial's numbers and its end."""


@dataclass(frozen=True)
class StageStory:
    """A stage, as the report tells of it."""

    name: str
    inputs: tuple[str, ...]
    outcome: StageOutcome
    reason: str
    run_id: str | None
    """Of the run that stands for it, where it need not run."""


class SweepSession(Session[SweepConfig]):
    kind: ClassVar[str] = SWEEP_RUN
    command: ClassVar[str] = "pipeline.sweep"

    def __init__(self, config: SweepConfig, console: Console, dataset: Dataset, folder: str) -> None:
        super().__init__(config, console, dataset, folder)
        self.space = space_of(config, dataset)
        self.rungs = rungs_of(config, self.space)
        self.specs = draw_trials(self.space, dataset.shape, config.trials, self.rungs.max_epochs, config.seed)
        self.watchdog = Watchdog(config.stall_minutes, self.say)
        self.cluster_cores = 0.0
        """All cores of the cluster, in use or not; known once the run has begun."""
        self.places_held = 0
        """Of the places for trials, by what trains beside the search."""
        self.story: dict[str, StageStory] = {}
        """What becomes of each stage, as far as it is known."""
        self.stage_keys: dict[str, str] = {}
        """By which the tracker knows each stage's run."""
        self._allotment: Allotment | None = None
        self._precision: Precision | None = None

    @classmethod
    def identity(cls, config: SweepConfig, dataset: Dataset) -> dict[str, Any]:
        """What the search computes; the number of trials is not in it: a longer list begins with the shorter one."""
        reads = search_reads(replace(config, budget=None), dataset)
        del reads["trials"]
        return {"reads": reads, "code": code_digests(*SEARCH_CODE)}

    @property
    def allotment(self) -> Allotment:
        """What a trial takes of the cluster that the session is connected to."""
        with self._lock:
            if self._allotment is None:
                self._allotment = allot(self.config.resources, self.config.workers_per_trial)
            return self._allotment

    @property
    def places(self) -> int:
        """How many trials may run at once at this moment."""
        return max(1, self.allotment.concurrent - self.places_held)

    @property
    def final_allotment(self) -> Allotment:
        """What a training of Ray Train's takes: the same, but whole GPUs, which its workers do not share."""
        allotment, resources = self.allotment, self.config.resources
        if allotment.gpus == math.ceil(allotment.gpus):
            return allotment
        whole = replace(resources, gpus_per_trial=float(math.ceil(allotment.gpus)))
        return allot(whole, self.config.workers_per_trial)

    @property
    def precision(self) -> Precision:
        """One choice for all that the command trains."""
        with self._lock:
            if self._precision is None:
                model, recipe = published(self.dataset.shape, self.rungs.max_epochs)
                self._precision = precision_of(self, model, recipe, self.allotment)
            return self._precision

    def start_run(self) -> None:
        config, allotment = self.config, self.allotment
        self.cluster_cores = cluster_cores()
        params = {
            "dataset": self.dataset.name, "trials": config.trials, "seed": config.seed, "space": self.space.name,
            "max_epochs": self.rungs.max_epochs, "grace_epochs": self.rungs.grace_epochs,
            "reduction_factor": self.rungs.reduction_factor, "train_images": len(self.dataset.train),
            "validation_images": len(self.dataset.validation), "test_images": len(self.dataset.test),
            "workers_per_trial": allotment.workers, "cpus_per_trial": allotment.cpus,
            "gpus_per_trial": allotment.gpus, "max_concurrent": allotment.concurrent,
            # Measured now, if it has to be: later, the threads of stages side by side would get into its way.
            "precision": self.precision, "finalists": config.finalists, "seeds": config.seeds,
        }  # fmt: skip
        self.tracker.start_run(SWEEP_RUN, self.name, None, self.run_tags, params, self.dataset_reference)

    def end_run(self) -> None:
        self.tracker.end_run(SWEEP_RUN, "FINISHED")


def search_reads(config: SweepConfig, dataset: Dataset) -> dict[str, Plain]:
    """All that decides the trials and their ends, besides code and data.

    Raises:
        UsageError: there is no such space, or the rungs do not fit.
    """
    space = space_of(config, dataset)
    rungs = rungs_of(config, space)
    ranges: dict[str, Plain] = {
        f"{name} range": describe(domain) for name, domain in sorted(space.domains(dataset.shape).items())
    }
    # Within a budget, a search may have had no time for all of its trials.
    budget: dict[str, Plain] = {} if config.budget is None else {"budget": duration_text(config.budget.seconds)}
    return {
        **budget,
        "trials": config.trials,
        "seed": config.seed,
        "space": space.name,
        "full length": rungs.max_epochs,
        "grace epochs": rungs.grace_epochs,
        "reduction factor": rungs.reduction_factor,
        "precision": config.precision,
        "compile": config.compile,
        **ranges,
    }


def space_of(config: SweepConfig, dataset: Dataset) -> Space:
    if config.space is not None and config.space not in SPACES:
        raise UsageError(f"--space is {config.space!r}, but must be one of {', '.join(sorted(SPACES))}")
    return SPACES[config.space] if config.space else space_for(dataset.img_size)


def rungs_of(config: SweepConfig, space: Space) -> Rungs:
    return Rungs.of(config.max_epochs or space.max_epochs, config.grace_epochs, config.reduction_factor)
