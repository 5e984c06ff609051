"""Where a finished training's weights are: in its folder, and in its MLflow run for all who cannot reach that."""

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
"""Of a run: the weights and their card."""


def weights_digest(folder: Folder) -> str:
    """SHA-256 of a training's weights and their card, in hexadecimal digits.

    Raises:
        FileNotFoundError: one of the two is missing.
    """
    digest = hashlib.sha256()
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        digest.update(hashlib.sha256(folder.read(name)).digest())
    return digest.hexdigest()


def find_weights(client: MlflowClient, run_id: str, folder: str, index: int, digest: str, fetched: Folder) -> Folder:
    """A folder with the weights of this digest: the trial's own, or a copy fetched from the run.

    Another machine may have a folder of the same path, with the same command's weights of another epoch.

    Args:
        client: of the tracking store.
        run_id: of the training.
        folder: path or URI under which the trial's folder is, or was.
        index: of the trial.
        digest: what `weights_digest` said when the training had ended.
        fetched: where a copy goes.

    Raises:
        PipelineError: neither holds them.
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
    """What `lost_weights` says of the first run of which it says something."""
    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        return next((lost for lost in pool.map(partial(lost_weights, client), run_ids) if lost), None)


def lost_weights(client: MlflowClient, run_id: str) -> str | None:
    """Says what is gone: the run, or of its weights; None where all is there.

    Raises:
        MlflowException: the store does not answer, so nobody knows.
    """
    with none_where_gone():
        if client.get_run(run_id).info.lifecycle_stage != "deleted":
            present = {file.path for file in client.list_artifacts(run_id, ARTIFACTS)}
            needed = [f"{ARTIFACTS}/{name}" for name in (WEIGHTS_FILE, CONFIG_FILE)]
            return next((f"{name} of run {run_id[:8]}" for name in needed if name not in present), None)
    return f"run {run_id[:8]}"
