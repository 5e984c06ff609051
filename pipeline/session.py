"""What the stages of one sweep share: its configuration, its tools, and the big things that stages do not hand on."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from pipeline.artifacts import ArtifactMaker
from pipeline.cluster import Allotment, allot, connected
from pipeline.config import SweepConfig, experiment_name, resolve_tracking_uri
from pipeline.exits import PipelineError, UsageError
from pipeline.interrupt import Interrupt
from pipeline.lock import locked
from pipeline.search import Rungs
from pipeline.tracking import DatasetReference, Tracker
from pipeline.tracking_server import refuse_unreachable
from pipeline.trial_runs import SWEEP_RUN
from tune_spaces import SPACES, space_for
from tune_spaces.space import Space
from vit.data import Dataset, load_dataset
from vit.recipes import DataShape


class Session:
    """One sweep under way. Made by `open_session`, which has checked all that can be checked before it begins."""

    def __init__(
        self, config: SweepConfig, console: Console, dataset: Dataset, allotment: Allotment, interrupt: Interrupt
    ) -> None:
        self.config, self.console, self.dataset = config, console, dataset
        self.allotment, self.interrupt = allotment, interrupt
        self.name = f"{dataset.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        self.folder = f"{_absolute(config.storage)}/{self.name}"
        self.space: Space = SPACES[config.space] if config.space else space_for(dataset.img_size)
        self.rungs = Rungs.of(config.max_epochs or self.space.max_epochs, config.grace_epochs, config.reduction_factor)
        self.model_name = experiment_name(dataset.name)
        self.tracker = Tracker(resolve_tracking_uri(config.tracking_uri), self.model_name)
        self.artifacts = ArtifactMaker()
        self.seconds: dict[str, float] = {}
        """Wall time of each stage so far, and of Ray's start."""

    @property
    def trials_folder(self) -> str:
        return f"{self.folder}/trials"

    @property
    def shape(self) -> DataShape:
        data = self.dataset
        return DataShape(data.img_size, data.in_chans, data.num_classes, data.mirror_safe)

    @property
    def dataset_reference(self) -> DatasetReference:
        return DatasetReference(self.dataset.name, self.dataset.digest, self.dataset.source)

    def start_sweep_run(self) -> None:
        config = self.config
        params = {
            "dataset": self.dataset.name, "trials": config.trials, "seed": config.seed, "space": self.space.name,
            "max_epochs": self.rungs.max_epochs, "grace_epochs": self.rungs.grace_epochs,
            "reduction_factor": self.rungs.reduction_factor, "train_images": len(self.dataset.train),
            "validation_images": len(self.dataset.validation), "test_images": len(self.dataset.test),
            "cpus_per_trial": self.allotment.cpus, "gpus_per_trial": self.allotment.gpus,
            "max_concurrent": self.allotment.concurrent,
        }  # fmt: skip
        tags = {
            "pipeline.kind": "sweep",
            "pipeline.command": " ".join(["python -m pipeline.sweep", *sys.argv[1:]]),
            "pipeline.folder": self.folder,
            "pipeline.data_digest": self.dataset.digest,
        }
        self.tracker.start_run(SWEEP_RUN, self.name, None, tags, params, self.dataset_reference)


@contextmanager
def open_session(config: SweepConfig, console: Console) -> Iterator[Session]:
    """Checks what can be refused, cheapest first, then begins the sweep's run; ends it whatever happens.

    Raises:
        DataError, UsageError, PipelineError: before any run is written.
    """
    _refuse_unknown_space(config.space)
    with ExitStack() as stack:
        refuse_unreachable(resolve_tracking_uri(config.tracking_uri))
        stack.enter_context(locked(config.storage))
        dataset = load_dataset(config.data)
        started = time.perf_counter()
        stack.enter_context(connected(config.address))
        ray_seconds = time.perf_counter() - started
        interrupt = Interrupt()
        stack.enter_context(interrupt.handled())
        session = Session(config, console, dataset, allot(config.resources), interrupt)
        session.seconds["ray"] = ray_seconds
        stack.callback(session.artifacts.close)
        session.start_sweep_run()
        try:
            yield session
        except BaseException as error:
            _mark_unfinished(session, error)
            raise
        session.tracker.end_run(SWEEP_RUN, "FINISHED")
        session.tracker.close()


def _mark_unfinished(session: Session, error: BaseException) -> None:
    by_user = session.interrupt.requested or isinstance(error, KeyboardInterrupt)
    if by_user:
        session.tracker.end_open_runs("KILLED", {"pipeline.stopped": "interrupted"})
    else:
        session.tracker.end_open_runs("FAILED", {"pipeline.error": f"{type(error).__name__}: {error}"})
    try:
        session.tracker.close(timeout=20)
    except PipelineError as lost:
        session.console.out(f"warning: {lost}", highlight=False)


def _refuse_unknown_space(name: str | None) -> None:
    if name is not None and name not in SPACES:
        raise UsageError(f"--space is {name!r}, but must be one of {', '.join(sorted(SPACES))}")


def _absolute(storage: str) -> str:
    """Trials run in other folders, on other nodes too."""
    return storage.rstrip("/") if "://" in storage else str(Path(storage).resolve())
