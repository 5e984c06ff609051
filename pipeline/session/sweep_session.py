"""The session of a sweep: its search space, its trials, and the resources that each may take."""

import math
import threading
from dataclasses import replace
from typing import Any, ClassVar

from rich.console import Console

from pipeline.cluster.allotment import Allotment, allot, cluster_cores
from pipeline.cluster.watchdog import Watchdog
from pipeline.config import SweepConfig
from pipeline.errors import UsageError
from pipeline.graph.code_digest import code_digests
from pipeline.graph.fingerprint import fingerprint
from pipeline.graph.reuse import DIGEST_OF
from pipeline.graph.runner import StageRecord
from pipeline.graph.stage import PlainValue
from pipeline.session.session import Session
from pipeline.session.space_choice import NAMING_TRIALS, space_of
from pipeline.terminal.durations import duration_text
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.training.training import TrainingData
from pipeline.training.worker_group import SharedData
from pipeline.trials.rungs import Rungs
from tune_spaces.space import Space, describe_domain, draw_trials
from vit.data.dataset import Dataset
from vit.model.config import ViTConfig
from vit.model.work import flops_per_image
from vit.training.precision import Precision, torch_version
from vit.training.recipes import Recipe, published

SEARCH_CODE = (
    "pipeline.stages.prepare", "pipeline.stages.search", "pipeline.stages.audit", "pipeline.stages.baseline",
    "pipeline.stages.confirm", "pipeline.training.precision", "tune_spaces.space",
)  # fmt: skip
"""The modules that decide, with all that they import, the trials and trainings that the folder keeps."""
POLL_SECONDS = 0.2
MAY_DIFFER = (
    "trials", "finalists", "seeds", "audit",
    "workers_per_trial", "cpus_per_trial", "gpus_per_trial", "max_concurrent",
)  # fmt: skip
"""The parameters that may have other values in a later command over the same folder."""


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
        self.slots_held = 0
        """The slots that the baseline uses, and that trials therefore cannot use."""
        self.baseline_trains, self.baseline_ended = threading.Event(), threading.Event()
        """Set once the baseline has its workers, and once it has released them. Both are set if it does not run."""
        self.audit_ended = threading.Event()
        """Set once the audit is over, successful or not, and also if it does not run."""
        for event in (self.baseline_trains, self.baseline_ended, self.audit_ended):
            event.set()
        self.stage_records: dict[str, StageRecord] = {}
        """The record of each stage as far as it is known; the graph's runner fills it."""
        self._allotment: Allotment | None = None
        self._shared_data: SharedData | None = None
        self._precision: Precision | None = None

    @classmethod
    def identity(cls, config: SweepConfig, dataset: Dataset) -> dict[str, Any]:
        """Returns what decides the sweep's trainings.

        The number of trials is left out, because a longer list of trials begins with the shorter one.
        """
        space, of_the_first = space_of(config, dataset), replace(config, budget=None, trials=NAMING_TRIALS)
        settings = search_settings(of_the_first, dataset, space, rungs_of(config, space))
        del settings["trials"]
        specs = draw_trials(space, dataset.shape, config.trials, rungs_of(config, space).max_epochs, config.seed)
        most = min(len(dataset.train), *(spec.recipe.batch_size for spec in specs))
        if config.workers_per_trial > most:
            raise UsageError(
                f"--workers-per-trial is {config.workers_per_trial}, but must be at most the {most} images of a batch"
            )
        return {"settings": settings, "code": code_digests(*SEARCH_CODE)}

    @property
    def search_settings(self) -> dict[str, PlainValue]:
        """All settings that decide the trials and when they end; code and data are not among them."""
        return search_settings(self.config, self.dataset, self.space, self.rungs)

    @property
    def allotment(self) -> Allotment:
        """The resources that a trial takes of the cluster that the session is connected to."""
        with self._lock:
            if self._allotment is None:
                self._allotment = allot(self.config.resources, self.config.workers_per_trial)
            return self._allotment

    @property
    def free_slots(self) -> int:
        """How many trials may currently run at the same time."""
        return max(1, self.allotment.concurrent - self.slots_held)

    def share(self, data: TrainingData) -> SharedData:
        """Puts the images into Ray's object store, where each node holds them once for all stages that need them."""
        with self._lock:
            if self._shared_data is None:
                self._shared_data = SharedData.put(data)
            return self._shared_data

    @property
    def baseline_slots(self) -> int:
        """How many slots of trials the baseline takes: one, or where trials share GPUs, all slots of a whole GPU."""
        return math.ceil(1 / self.allotment.gpus) if self.shared_gpus else 1

    def hold_slots_for_baseline(self) -> None:
        """Takes slots from the search for the baseline, which will train beside it. Call it before the stages run."""
        self.slots_held = self.baseline_slots
        self.baseline_trains.clear()
        self.baseline_ended.clear()

    def release_baseline_slots(self) -> None:
        """Gives the slots back to the search: the baseline is over, successful or not."""
        self.slots_held = 0
        self.baseline_trains.set()
        self.baseline_ended.set()

    @property
    def shared_gpus(self) -> bool:
        """Whether several trials share a GPU, which Ray Train's workers do not."""
        return 0 < self.allotment.gpus < 1

    def wait_for_baseline(self) -> None:
        """Where trials share GPUs, waits for the baseline; call it before the first trial.

        Without this, the trials' fractions of GPUs would leave no whole GPU for the baseline. Returns once the
        baseline's workers have their GPU; if no slot is left beside them, once they have ended; or when the user wants
        to stop.
        """
        if not self.shared_gpus:
            return
        has_slots = self.allotment.concurrent > self.slots_held
        self._wait_for(self.baseline_trains if has_slots else self.baseline_ended)

    def wait_for_audit(self) -> None:
        """Where trials share GPUs, waits for the audit; call it before the finalists are trained.

        Without this, the audit's fractions of GPUs would leave no whole GPUs for the finalists. Returns once the audit
        is over, or when the user wants to stop.
        """
        if self.shared_gpus:
            self._wait_for(self.audit_ended)

    def _wait_for(self, event: threading.Event) -> None:
        while not event.wait(POLL_SECONDS) and not self.interrupt.requested:
            pass

    @property
    def final_allotment(self) -> Allotment:
        """What a training through Ray Train takes: the same as a trial, but whole GPUs, as its workers share none."""
        allotment, resources = self.allotment, self.config.resources
        if allotment.gpus == math.ceil(allotment.gpus):
            return allotment
        whole = replace(resources, gpus_per_trial=float(math.ceil(allotment.gpus)))
        return allot(whole, self.config.workers_per_trial)

    @property
    def precision(self) -> Precision:
        """The precision of everything that the command trains."""
        with self._lock:
            if self._precision is None:
                self._precision = self.precision_for(*self._model_to_probe, self.allotment)
            return self._precision

    @property
    def _model_to_probe(self) -> tuple[ViTConfig, Recipe]:
        """The training that the precision is measured with: the most expensive on a GPU, a quick one on a CPU."""
        if not self.allotment.gpus:
            return published(self.dataset.shape, self.rungs.max_epochs)
        dearest = max(self.specs, key=lambda spec: flops_per_image(spec.model) * spec.recipe.batch_size)
        return dearest.model, dearest.recipe

    def use_precision(self, precision: Precision) -> None:
        """Adopts the precision that the sweep has trained in so far, maybe on another machine.

        If the precision was not named by the user, later commands over this folder keep it.
        """
        self._precision = precision
        if self.config.precision == "auto":
            self.memory.remember("precision", precision)

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
            # If the precision has to be measured, that happens now: later, stages side by side would disturb it.
            "precision": self.precision, "finalists": config.finalists, "seeds": config.seeds, "audit": config.audit,
        }  # fmt: skip
        # MLflow keeps the parameters of the first command over this folder. The values that may differ in
        # a later command are also kept as tags.
        tags = {f"pipeline.{name}": str(params[name]) for name in MAY_DIFFER}
        self.tracker.start_run(SWEEP_RUN, self.name, None, {**self.run_tags, **tags}, params, self.dataset_reference)

    def end_run(self) -> None:
        self.tracker.end_run(SWEEP_RUN, "FINISHED")


def search_settings(config: SweepConfig, dataset: Dataset, space: Space, rungs: Rungs) -> dict[str, PlainValue]:
    """Returns all settings that decide the trials and when they end; code and data are not among them."""
    ranges: dict[str, PlainValue] = {
        f"{name} range": describe_domain(domain) for name, domain in sorted(space.domains(dataset.shape).items())
    }
    specs = draw_trials(space, dataset.shape, config.trials, rungs.max_epochs, config.seed)
    # Within a budget, a search may have had no time for all of its trials.
    budget: dict[str, PlainValue] = {} if config.budget is None else {"budget": duration_text(config.budget.seconds)}
    return {
        **budget,
        "trials": config.trials,
        "seed": config.seed,
        "space": space.name,
        **({} if config.search == "random" else {"search": config.search}),
        "full length": rungs.max_epochs,
        "grace epochs": rungs.grace_epochs,
        "reduction factor": rungs.reduction_factor,
        "precision": config.precision,
        "compile": config.compile,
        "mirrored": dataset.mirror_safe,
        "torch": torch_version(),
        **ranges,
        # The ranges are text for people, in which 0 and 0.0, or two functions of one name, look alike. The digest tells
        # them apart.
        f"{DIGEST_OF}the trials": fingerprint([spec.to_dict() for spec in specs]),
    }


def rungs_of(config: SweepConfig, space: Space) -> Rungs:
    """Returns ASHA's rungs. Raises UsageError if the grace period is longer than a trial."""
    return Rungs.of(config.max_epochs or space.max_epochs, config.grace_epochs, config.reduction_factor)
