"""A sweep's session: its space, its trials, and what each may take."""

from dataclasses import asdict
from typing import Any, ClassVar

from rich.console import Console

from pipeline.cluster import Allotment, allot
from pipeline.config import SweepConfig
from pipeline.exits import UsageError
from pipeline.rungs import Rungs
from pipeline.session import Session
from pipeline.trial_runs import SWEEP_RUN
from tune_spaces import SPACES, space_for
from tune_spaces.space import Space, TrialSpec, draw_trials
from vit.data import Dataset

DRAWS_THAT_TELL = 16
"""A space whose code has changed draws other trials; these many first ones show it."""


class SweepSession(Session[SweepConfig]):
    kind: ClassVar[str] = SWEEP_RUN
    command: ClassVar[str] = "pipeline.sweep"

    def __init__(self, config: SweepConfig, console: Console, dataset: Dataset, folder: str) -> None:
        super().__init__(config, console, dataset, folder)
        self.space = space_of(config, dataset)
        self.rungs = rungs_of(config, self.space)
        self.specs = trials_of(config, dataset, config.trials)
        self._allotment: Allotment | None = None

    @classmethod
    def identity(cls, config: SweepConfig, dataset: Dataset) -> dict[str, Any]:
        """The number of trials is not in it: a longer list begins with the shorter one."""
        if config.space is not None and config.space not in SPACES:
            raise UsageError(f"--space is {config.space!r}, but must be one of {', '.join(sorted(SPACES))}")
        return {
            "trials": [spec.to_dict() for spec in trials_of(config, dataset, DRAWS_THAT_TELL)],
            "rungs": asdict(rungs_of(config, space_of(config, dataset))),
            "precision": config.precision,
            "compile": config.compile,
        }

    @property
    def allotment(self) -> Allotment:
        """What a trial takes of the cluster that the session is connected to."""
        if self._allotment is None:
            self._allotment = allot(self.config.resources, self.config.workers_per_trial)
        return self._allotment

    def start_run(self) -> None:
        config, allotment = self.config, self.allotment
        params = {
            "dataset": self.dataset.name, "trials": config.trials, "seed": config.seed, "space": self.space.name,
            "max_epochs": self.rungs.max_epochs, "grace_epochs": self.rungs.grace_epochs,
            "reduction_factor": self.rungs.reduction_factor, "train_images": len(self.dataset.train),
            "validation_images": len(self.dataset.validation), "test_images": len(self.dataset.test),
            "workers_per_trial": allotment.workers, "cpus_per_trial": allotment.cpus,
            "gpus_per_trial": allotment.gpus, "max_concurrent": allotment.concurrent,
        }  # fmt: skip
        self.tracker.start_run(SWEEP_RUN, self.name, None, self.run_tags, params, self.dataset_reference)

    def end_run(self) -> None:
        self.tracker.end_run(SWEEP_RUN, "FINISHED")


def space_of(config: SweepConfig, dataset: Dataset) -> Space:
    return SPACES[config.space] if config.space else space_for(dataset.img_size)


def rungs_of(config: SweepConfig, space: Space) -> Rungs:
    return Rungs.of(config.max_epochs or space.max_epochs, config.grace_epochs, config.reduction_factor)


def trials_of(config: SweepConfig, dataset: Dataset, count: int) -> list[TrialSpec]:
    space = space_of(config, dataset)
    return draw_trials(space, dataset.shape, count, rungs_of(config, space).max_epochs, config.seed)
