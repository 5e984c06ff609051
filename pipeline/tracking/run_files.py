"""Reads a run's files back from MLflow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def fetch_file(client: MlflowClient, scratch: Path, run_id: str, path: str) -> Path | None:
    """Downloads a run's artifact into `scratch` and returns its path; None if there is no such artifact or run.

    Raises:
        MlflowException: the store does not answer.
    """
    folder = scratch / run_id
    folder.mkdir(exist_ok=True)
    with none_where_gone():
        present = client.list_artifacts(run_id, path.rpartition("/")[0] or None)
        if path in {file.path for file in present}:
            return Path(client.download_artifacts(run_id, path, str(folder)))
    return None


@contextmanager
def none_where_gone() -> Iterator[None]:
    """Suppresses MLflow's error that a run or version does not exist; other errors are raised."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
