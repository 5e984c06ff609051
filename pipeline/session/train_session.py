"""The session of one training run."""

from dataclasses import replace
from typing import Any, ClassVar

from rich.console import Console

from pipeline.cluster.allotment import Allotment, allot
from pipeline.config import TrainConfig, TrialResources
from pipeline.errors import UsageError
from pipeline.graph.code_digest import code_digests
from pipeline.session.session import Session
from pipeline.tracking.trial_runs import TrainRuns
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import Dataset
from vit.training.overrides import overridden
from vit.training.precision import Precision, torch_version
from vit.training.recipes import RECIPES, refuse_mirroring

TRAINING_CODE = "pipeline.training.driver_loop"
"""The module that decides, with all that it imports, a training's numbers."""


class TrainSession(Session[TrainConfig]):
    """A session with a single training, which is trial 0 of its folder."""

    kind: ClassVar[str] = "train"
    command: ClassVar[str] = "pipeline.train"

    def __init__(self, config: TrainConfig, console: Console, dataset: Dataset, folder: str) -> None:
        super().__init__(config, console, dataset, folder)
        self.spec = self.spec_of(config, dataset)
        self.runs = TrainRuns(
            self.tracker, self.artifacts, self.trials_folder, self.dataset_reference, dataset.class_names, self.name,
            self.run_tags,
        )  # fmt: skip
        self._allotment: Allotment | None = None

    @classmethod
    def identity(cls, config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
        """Returns what decides the training's numbers.

        The number of workers is left out: only the speed and the random draws of dropout depend on it.
        """
        spec = cls.spec_of(config, dataset)
        most = min(spec.recipe.batch_size, len(dataset.train))
        if config.workers.most > most:
            raise UsageError(f"--workers is {config.workers.most}, but must be at most the {most} images of a batch")
        code = code_digests(TRAINING_CODE)
        return {
            "spec": spec.to_dict(),
            "precision": config.precision,
            "compile": config.compile,
            "torch": torch_version(),
            "code": code,
        }

    @classmethod
    def spec_of(cls, config: TrainConfig, dataset: Dataset) -> TrialSpec:
        """Returns the model and the recipe to train, as trial 0.

        Raises:
            UsageError: there is no such recipe, or a setting does not fit it.
        """
        if config.recipe not in RECIPES:
            raise UsageError(f"--recipe is {config.recipe!r}, but must be one of {', '.join(sorted(RECIPES))}")
        model, recipe = RECIPES[config.recipe](dataset.shape)
        if config.epochs is not None:
            recipe = replace(recipe, epochs=config.epochs)
        try:
            changed_model, recipe = overridden(model, recipe, config.settings)
            refuse_mirroring(recipe, dataset.shape)
        except ValueError as error:
            raise UsageError(f"--set: {error}") from error
        for name in ("img_size", "in_chans", "num_classes"):
            if getattr(changed_model, name) != getattr(model, name):
                raise UsageError(
                    f"--set: {name} is {getattr(changed_model, name)}, but must be the images' {getattr(model, name)}"
                )
        return TrialSpec(0, changed_model, recipe, config.seed)

    @property
    def allotment(self) -> Allotment:
        """The resources that a worker takes of the cluster that the session is connected to."""
        if self._allotment is None:
            resources = TrialResources(self.config.cpus_per_worker, self.config.gpus_per_worker)
            self._allotment = allot(resources, self.config.workers.fewest, "worker", "--workers")
        return self._allotment

    @property
    def precision(self) -> Precision:
        """The precision in which the training runs, or has run."""
        return self.precision_for(self.spec.model, self.spec.recipe, self.allotment)

    def start_run(self) -> None:
        """Begins no run: the training's own run is also the command's."""
        _ = self.allotment  # raises here, before anything is written, if the cluster has no room

    def end_run(self) -> None:
        """Does nothing: the training has ended the run already."""
