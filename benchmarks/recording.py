"""Claim: a trial's records (metrics, figures, weights in MLflow) cost it no training time.

    python -m benchmarks.recording

Runs the same search on digits with and without records, in turn; compares the trials' own training and validation
seconds, and the wall time of the search. All cores train, so any core time that recording takes shows.
"""

import argparse
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

# The process that draws the figures imports this module again, so what is slow to import is imported further down.
from benchmarks.machine import machine_line
from pipeline.tracking.server import prepare_mlflow

if TYPE_CHECKING:
    from vit.data.dataset import Dataset

TRIALS, EPOCHS = 6, 8


def search_seconds(dataset: "Dataset", is_recorded: bool) -> tuple[float, float]:
    """The trials' own seconds in total, and the wall seconds, of a search of trials of the published configuration."""
    from pipeline.cluster.allotment import allot
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
    from vit.data.normalisation import measure_normalisation
    from vit.training.recipes import published

    model, recipe = published(dataset.shape, EPOCHS)
    specs = [TrialSpec(index, model, recipe, seed=index) for index in range(TRIALS)]
    normalisation = measure_normalisation(dataset.train.images)
    data = TrainingData(dataset.train, dataset.validation, normalisation, dataset.class_names)
    with tempfile.TemporaryDirectory() as folder:
        trials_folder = f"{folder}/trials"
        tracker, artifacts = Tracker(f"sqlite:///{folder}/mlflow.db", "recording"), ArtifactMaker()
        tracker.start_run(SWEEP_RUN, "recording")
        reference = DatasetReference(dataset.name, dataset.digest, dataset.source)
        observers = [TrialRuns(tracker, artifacts, trials_folder, reference, dataset.class_names)]
        tracker.flush()
        context, rungs = TrainingContext(trials_folder, "fp32", compile=False), Rungs(EPOCHS, 3, EPOCHS)
        started = time.perf_counter()
        shared = SharedData.put(data)
        search = Search(specs, shared, context, rungs, allot(TrialResources()), f"{folder}/tune", f"{folder}/ray-train")
        trials = run_search(search, [*observers] if is_recorded else [], lambda: False)
        wall = time.perf_counter() - started
        artifacts.finish()
        tracker.close()
        artifacts.close()
    return sum(trial.seconds for trial in trials), wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="searches of each kind")
    rounds = parser.parse_args().rounds
    prepare_mlflow()
    from pipeline.cluster.connection import connected
    from vit.data.dataset import DataConfig, load_dataset

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
