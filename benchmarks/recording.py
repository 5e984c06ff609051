"""Claim: a trial's records (metrics, figures, weights in MLflow) cost it no training time.

    python -m benchmarks.recording

The same search of digits in turn with records and without; compares the trials' own training and validation seconds,
and the wall time of the search.
"""

import argparse
import statistics
import tempfile
import time

from benchmarks.machine import machine_line
from pipeline.tracking_server import prepare_mlflow

prepare_mlflow()

from pipeline.artifacts import ArtifactMaker  # noqa: E402 - MLflow reads its settings when it is imported
from pipeline.cluster import allot, connected  # noqa: E402
from pipeline.config import TrialResources  # noqa: E402
from pipeline.search import Rungs, run_search  # noqa: E402
from pipeline.tracking import DatasetReference, Tracker  # noqa: E402
from pipeline.trial import TrainingData, TrialContext  # noqa: E402
from pipeline.trial_runs import SWEEP_RUN, TrialRuns  # noqa: E402
from tune_spaces.space import TrialSpec  # noqa: E402
from vit.augment import measure_normalisation  # noqa: E402
from vit.data import DataConfig, Dataset, load_dataset  # noqa: E402
from vit.recipes import DataShape, published  # noqa: E402

TRIALS, EPOCHS = 8, 8


def search_seconds(dataset: Dataset, is_recorded: bool) -> tuple[float, float]:
    """(the trials' own seconds in all, wall seconds) of one search, all trials the published configuration."""
    shape = DataShape(dataset.img_size, dataset.in_chans, dataset.num_classes, dataset.mirror_safe)
    model, recipe = published(shape, EPOCHS)
    specs = [TrialSpec(index, model, recipe, seed=index) for index in range(TRIALS)]
    data = TrainingData(
        dataset.train, dataset.validation, measure_normalisation(dataset.train.images), dataset.class_names
    )
    with tempfile.TemporaryDirectory() as folder:
        trials_folder = f"{folder}/trials"
        tracker, artifacts = Tracker(f"sqlite:///{folder}/mlflow.db", "recording"), ArtifactMaker()
        tracker.start_run(SWEEP_RUN, "recording")
        reference = DatasetReference(dataset.name, dataset.digest, dataset.source)
        runs = TrialRuns(tracker, artifacts, trials_folder, reference, dataset.class_names)
        tracker.flush()
        started = time.perf_counter()
        trials = run_search(
            specs,
            data,
            TrialContext(trials_folder, "fp32", compile=False),
            Rungs(EPOCHS, 3, EPOCHS),
            allot(TrialResources()),
            folder,
            [runs] if is_recorded else [],
            lambda: False,
        )
        wall = time.perf_counter() - started
        artifacts.finish()
        tracker.close()
        artifacts.close()
    return sum(trial.seconds for trial in trials), wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="searches of each kind")
    rounds = parser.parse_args().rounds
    print(machine_line())
    dataset = load_dataset(DataConfig("digits"))
    seconds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with connected(None):
        search_seconds(dataset, is_recorded=False)  # warm-up
        for _ in range(rounds):
            for is_recorded in (True, False):
                seconds[is_recorded].append(search_seconds(dataset, is_recorded))
    for name, column in (("trials' own seconds", 0), ("wall seconds", 1)):
        recorded, plain = (statistics.median(row[column] for row in seconds[kind]) for kind in (True, False))
        print(f"{name}: {recorded:.1f} recorded, {plain:.1f} not, ratio {recorded / plain:.3f} (medians of {rounds})")


if __name__ == "__main__":
    main()
