"""Checks whether the files of a registered model exist."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from pipeline.errors import PipelineError

DATA = "data"
"""The folder of a served model that holds its exported program and labels (`pipeline.registry.served_model`)."""
NO_FILES = "has no files"
_NOT_KNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes where there is no such model, run or version."""


class UnreachableFilesError(PipelineError):
    """This machine cannot tell whether a model's files exist: their store does not answer, or denies access."""


def missing_files(client: MlflowClient, source: str) -> str | None:
    """Says in words what is missing of a model, given where it is (models:/..., runs:/..., or a URI); None if nothing.

    Raises:
        UnreachableFilesError: this cannot be determined.
    """
    try:
        repository = get_artifact_repository(source, tracking_uri=client.tracking_uri)
        names = {file.path.rpartition("/")[2] for file in repository.list_artifacts(None)}
        if not names:
            return NO_FILES
        if "MLmodel" not in names:
            return "has no MLmodel"
        if DATA not in names or not repository.list_artifacts(DATA):
            return "has no data"
        return None
    except Exception as error:  # whatever the store's client raises where a package, a key or an answer is missing
        reason = " ".join(str(error).split())
        if isinstance(error, MlflowException) and error.error_code in _NOT_KNOWN:
            return f"is nowhere in MLflow ({reason})"
        raise UnreachableFilesError(f"cannot be listed ({reason})") from error


def is_reachable_location(client: MlflowClient, source: str) -> bool:
    """Whether this machine could read the files if they exist: not so where their path is one on another machine."""
    repository = get_artifact_repository(source, tracking_uri=client.tracking_uri)
    place = getattr(repository, "repo", repository)  # the store behind a models:/ or runs:/ URI
    if not isinstance(place, LocalArtifactRepository):
        return True
    # The experiment's folder ROOT: a model is in ROOT/models/ID/artifacts, or in ROOT/RUN/artifacts/NAME of its run.
    return Path(place.artifact_dir).parent.parent.parent.is_dir()


def lost_version(client: MlflowClient, model_name: str, number: int, run_id: str) -> str | None:
    """Names what is missing of the version that was registered from a run; None if nothing is.

    Raises:
        UnreachableFilesError: this cannot be determined.
    """
    try:
        version = client.get_model_version(model_name, str(number))
    except MlflowException as error:
        if error.error_code not in _NOT_KNOWN:
            raise
        return f"version {number} of {model_name}"
    if version.run_id != run_id:  # the model was deleted, and another version now has this number
        return f"version {number} of {model_name}"
    gone = missing_files(client, str(version.source)) is not None
    return f"what version {number} of {model_name} consists of" if gone else None
