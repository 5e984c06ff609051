"""Claim: what the driver spends on each trial does not grow with the number of trials.

    python -m benchmarks.scale

Runs searches of 10, 100 and 1,000 trials that train next to nothing (the smallest ViT, 64 images, 2 epochs), with the
same search, ledger, figures and MLflow records as a real sweep, each search in a process of its own. So a trial's
seconds are all overhead, and whatever grows with the number of trials shows.
"""

import argparse
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.machine import machine_line
from benchmarks.own_process import in_its_own_process
from pipeline.tracking.server import prepare_mlflow

EPOCHS = 2
MEGABYTE = 2**20


@dataclass(frozen=True)
class Cost:
    """What one search cost."""

    trials: int
    seconds: float
    """The time from the first trial's start until every record is written."""
    training_seconds: float
    """The trials' own seconds, added up."""
    concurrent: int
    driver_growth: int
    """Bytes that the driver's resident memory grew by."""
    rows: int
    """How many rows of metrics, parameters, tags and runs are in MLflow's database."""

    @property
    def line(self) -> str:
        overhead = (self.seconds - self.training_seconds / self.concurrent) / self.trials
        growth = self.driver_growth / MEGABYTE
        return (
            f"{self.trials:5d} trials: {overhead:.3f} s of overhead a trial, driver +{growth:.0f}"
            f" MB ({self.driver_growth / self.trials / 1024:.0f} kB a trial), {self.rows / self.seconds:.0f} rows/s"
            f" into MLflow ({self.rows / self.trials:.0f} a trial), {self.seconds:.0f} s in all"
        )


def measure(count: int, connection: Connection) -> None:
    """Runs a search of `count` trials and sends its `Cost`."""
    prepare_mlflow()
    import numpy as np
    import psutil

    from pipeline.cluster.allotment import allot
    from pipeline.cluster.connection import connected
    from pipeline.config import TrialResources
    from pipeline.search.search import Search
    from pipeline.search.tuner import run_search
    from pipeline.tracking.artifacts import ArtifactMaker
    from pipeline.tracking.events import DatasetReference
    from pipeline.tracking.tracker import Tracker
    from pipeline.tracking.trial_runs import SWEEP_RUN, TrialRuns
    from pipeline.training.training import TrainingContext, TrainingData
    from pipeline.training.worker_group import SharedData
    from pipeline.trials.rungs import Rungs
    from tune_spaces.trial_spec import TrialSpec
    from vit.data.arrays import ImageArrays
    from vit.data.normalisation import measure_normalisation
    from vit.model.config import ViTConfig
    from vit.training.recipes import Recipe

    rng = np.random.default_rng(0)
    images = ImageArrays(rng.integers(0, 256, (64, 8, 8, 1), dtype=np.uint8), rng.integers(0, 10, 64))
    names = tuple(str(digit) for digit in range(10))
    model = ViTConfig(img_size=8, patch_size=8, in_chans=1, num_classes=10, embed_dim=4, depth=1, num_heads=1)
    specs = [TrialSpec(index, model, Recipe(epochs=EPOCHS, flip=False), seed=index) for index in range(count)]
    with tempfile.TemporaryDirectory() as folder, connected(None):
        trials = f"{folder}/trials"
        tracker, artifacts = Tracker(f"sqlite:///{folder}/mlflow.db", "scale"), ArtifactMaker()
        tracker.start_run(SWEEP_RUN, "scale")
        tracker.flush()
        runs = TrialRuns(tracker, artifacts, trials, DatasetReference("random", "sha256:0", "numpy"), names)
        search = Search(
            specs,
            SharedData.put(TrainingData(images, images, measure_normalisation(images.images), names)),
            TrainingContext(trials, "fp32", compile=False),
            Rungs(EPOCHS, 3, EPOCHS),
            allot(TrialResources()),
            f"{folder}/tune",
            f"{folder}/ray-train",
        )
        memory, started = psutil.Process().memory_info().rss, time.perf_counter()
        records = run_search(search, [runs], lambda: False)
        artifacts.finish()
        tracker.close(timeout=3600)
        seconds = time.perf_counter() - started
        growth = psutil.Process().memory_info().rss - memory
        artifacts.close()
        training = sum(record.seconds for record in records)
        connection.send(Cost(count, seconds, training, search.allotment.concurrent, growth, _rows(Path(folder))))


def _rows(folder: Path) -> int:
    with sqlite3.connect(folder / "mlflow.db") as database:
        tables = ("runs", "metrics", "params", "tags")
        return sum(database.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000], help="numbers of trials")
    counts = parser.parse_args().trials
    print(machine_line())
    for count in counts:
        cost: Cost = in_its_own_process(measure, count)
        print(cost.line, flush=True)


if __name__ == "__main__":
    main()
