"""Finds a finished training's weights: in its folder or, where that cannot be reached, in its MLflow run."""

import hashlib
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.errors import PipelineError
from pipeline.tracking.run_files import none_where_gone
from pipeline.trials.folder import trial_folder
from vit.files.storage import CONCURRENT_READS, CONFIG_FILE, WEIGHTS_FILE, Folder

ARTIFACTS = "checkpoint"
"""The artifact folder of a run that holds the weights and their model card."""


def weights_digest(folder: Folder) -> str:
    """Returns the SHA-256 of a training's weights and their model card, in hexadecimal digits.

    Raises:
        FileNotFoundError: one of the two is missing.
    """
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        digest.update(hashlib.sha256(folder.read(name)).digest())
    return digest.hexdigest()


def find_weights(client: MlflowClient, run_id: str, folder: str, index: int, digest: str, fetched: Folder) -> Folder:
    """Returns a folder with the weights of this digest: the trial's own folder, or a copy fetched from the run.

    The digest is compared since another machine may have a folder at the same path that holds the same command's
    weights of another epoch.

    Args:
        client: a client of the tracking store.
        run_id: the run of the training.
        folder: the path or URI under which the trial's folder is, or was.
        index: the index of the trial.
        digest: what `weights_digest` returned when the training had ended.
        fetched: the folder under which a copy is put.

    Raises:
        PipelineError: neither the trial's folder nor the run holds these weights.
    """
    own, copy = trial_folder(folder, index), fetched / run_id
    train_again = f"delete the run in MLflow, remove {own.uri}, and give the same command again, which trains them anew"
    if _holds(own, digest):
        return own
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = Path(client.download_artifacts(run_id, ARTIFACTS, scratch))
            for name in (WEIGHTS_FILE, CONFIG_FILE):
                copy.write(name, (path / name).read_bytes())
        except (MlflowException, FileNotFoundError) as error:
            raise PipelineError(
                f"the weights of run {run_id} are neither in {own.uri} nor in MLflow ({error}): {train_again}"
            ) from error
    if not _holds(copy, digest):
        raise PipelineError(
            f"the weights of run {run_id} are not those that its training ended with, neither in {own.uri} nor in "
            f"MLflow: {train_again}"
        )
    return copy


def _holds(folder: Folder, digest: str) -> bool:
    with suppress(FileNotFoundError):
        return weights_digest(folder) == digest
    return False


def first_lost_weights(client: MlflowClient, run_ids: Iterable[str]) -> str | None:
    """Says what is missing, as `lost_weights` does, of the first run with anything missing; None if nothing is."""
    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        return next((lost for lost in pool.map(partial(lost_weights, client), run_ids) if lost), None)


def lost_weights(client: MlflowClient, run_id: str) -> str | None:
    """Says what is missing: the run itself, or a file of its weights; None if nothing is.

    Raises:
        MlflowException: the store does not answer, so it is not known whether anything is missing.
    """
    with none_where_gone():
        if client.get_run(run_id).info.lifecycle_stage != "deleted":
            present = {file.path for file in client.list_artifacts(run_id, ARTIFACTS)}
            needed = [f"{ARTIFACTS}/{name}" for name in (WEIGHTS_FILE, CONFIG_FILE)]
            return next((f"{name} of run {run_id[:8]}" for name in needed if name not in present), None)
    return f"run {run_id[:8]}"
