"""Defines what a search consists of."""

from dataclasses import dataclass

from pipeline.cluster.allotment import Allotment
from pipeline.search.driver import Suggest
from pipeline.search.fused_groups import Fusing
from pipeline.training.training import TrainingContext
from pipeline.training.worker_group import SharedData
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec


@dataclass(frozen=True)
class Search:
    """The trials of a search, and everything that they are run with."""

    specs: list[TrialSpec]
    data: SharedData
    context: TrainingContext
    rungs: Rungs
    allotment: Allotment
    tune_folder: str
    """Path or URI of a folder for Tune's own files; it is removed at the end."""
    ray_train_folder: str
    """Path or URI of a folder for Ray Train's own files, which is used if a trial has several workers."""
    max_failures: int = 2
    """How often a trial is restarted after its process died."""
    suggest: Suggest | None = None
    """Chooses each trial from the results of those before it; None if the trials in `specs` are run."""
    fusing: Fusing | None = None
    """How trials are fused; None if each trial is trained alone."""
