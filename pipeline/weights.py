"""Where a finished training's weights stand: in its folder, and in its MLflow run for all who cannot reach that."""

import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.trials.folder import trial_folder
from vit.storage import CONCURRENT_READS, CONFIG_FILE, WEIGHTS_FILE, Folder

ARTIFACTS = "checkpoint"
"""Of a run: the weights and their card."""


def find_weights(client: MlflowClient, run_id: str, folder: str, index: int, fetched: Folder) -> Folder:
    """The folder of a trial with its weights; where it is gone, or another machine's, they are fetched from the run."""
    place = trial_folder(folder, index)
    if place.exists(WEIGHTS_FILE) and place.exists(CONFIG_FILE):
        return place
    copy = fetched / run_id
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(client.download_artifacts(run_id, ARTIFACTS, scratch))
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            copy.write(name, (path / name).read_bytes())
    return copy


def first_lost_weights(client: MlflowClient, run_ids: Iterable[str]) -> str | None:
    """What `lost_weights` says of the first run of which it says something."""
    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        return next((lost for lost in pool.map(partial(lost_weights, client), run_ids) if lost), None)


def lost_weights(client: MlflowClient, run_id: str) -> str | None:
    """Says what is gone: the run, or of its weights; None where all is there."""
    try:
        if client.get_run(run_id).info.lifecycle_stage == "deleted":
            return f"run {run_id[:8]}"
        present = {file.path for file in client.list_artifacts(run_id, ARTIFACTS)}
    except MlflowException:
        return f"run {run_id[:8]}"
    needed = [f"{ARTIFACTS}/{name}" for name in (WEIGHTS_FILE, CONFIG_FILE)]
    return next((f"{name} of run {run_id[:8]}" for name in needed if name not in present), None)
