"""Reads a tracker's runs from its store."""

import itertools

from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.tracking.tracker import Tracker

experiment_numbers = itertools.count()


def runs_of(tracker: Tracker) -> dict[str, Run]:
    """Returns all runs of the tracker's experiment by name, as another client reads them."""
    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name(tracker.experiment)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "a run was written twice"
    return runs
