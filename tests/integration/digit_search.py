"""Builds a search on a few digits without the sweep around it, and records its trials' runs in an MLflow store."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.cluster.allotment import Allotment
from pipeline.search.fused_groups import Fusing
from pipeline.search.search import Search
from pipeline.tracking.artifacts import ArtifactMaker, copy_weights
from pipeline.tracking.events import DatasetReference
from pipeline.tracking.tracker import Tracker
from pipeline.tracking.trial_runs import SWEEP_RUN, TrialRuns
from pipeline.training.training import TrainingContext, TrainingData
from pipeline.training.worker_group import SharedData
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import DataConfig, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.model.config import ViTConfig

ONE_SLOT = Allotment(1, 0, 1)
TINY = ViTConfig(img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2)
"""A model that trains on digits within moments."""


def digit_search(
    specs: Sequence[TrialSpec],
    folder: Path,
    rungs: Rungs | None = None,
    allotment: Allotment = ONE_SLOT,
    max_failures: int = 2,
    fusing: Fusing | None = None,
) -> Search:
    """Returns a search that resumes what an earlier one left in the folder. Without rungs, ASHA stops no trial."""
    dataset = load_dataset(DataConfig("digits", train_limit=200))
    normalisation = measure_normalisation(dataset.train.images)
    length = specs[-1].recipe.epochs
    return Search(
        list(specs),
        SharedData.put(TrainingData(dataset.train, dataset.validation, normalisation, dataset.class_names)),
        TrainingContext(f"{folder}/trials", "fp32", compile=False),
        rungs or Rungs(length, 3, length),
        allotment,
        f"{folder}/tune",
        f"{folder}/ray-train",
        max_failures,
        fusing=fusing,
    )


@contextlib.contextmanager
def recorded_runs(folder: Path, owner: str | None = None) -> Iterator[TrialRuns]:
    """Yields an observer for a search in the folder, whose `mlflow.db` holds the trials' whole runs after the block."""
    tracker, artifacts = Tracker(f"sqlite:///{folder}/mlflow.db", "vit-x", owner), _OnlyWeights()
    with contextlib.closing(artifacts), contextlib.closing(tracker):
        tracker.start_run(SWEEP_RUN, "sweep")
        dataset = DatasetReference("x", "sha256:0", "nowhere")
        digits = tuple(str(digit) for digit in range(10))
        yield TrialRuns(tracker, artifacts, f"{folder}/trials", dataset, digits)
        artifacts.finish()


class _OnlyWeights(ArtifactMaker):
    """Collects the trials' weights at once, in this process, and draws no figures."""

    def submit(self, job: Callable[..., None], *arguments: Any, name: str, then: Callable[[Path], None]) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        copy_weights(folder, arguments[0])
        then(folder)
