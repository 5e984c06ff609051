"""What a search consists of."""

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
    """What a search consists of."""

    specs: list[TrialSpec]
    data: SharedData
    context: TrainingContext
    rungs: Rungs
    allotment: Allotment
    tune_folder: str
    """Path or URI of a folder for Tune's own files; it is removed at the end."""
    ray_train_folder: str
    """Path or URI of a folder for Ray Train's own files, where a trial has several workers."""
    max_failures: int = 2
    """How often a trial whose process died is taken up again."""
    suggest: Suggest | None = None
    """What a trial becomes, where that depends on the ones before; None: what `specs` say."""
    fusing: Fusing | None = None
    """None: each trial is trained by itself."""
