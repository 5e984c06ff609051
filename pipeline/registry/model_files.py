"""Whether a registered model's files are there."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from pipeline.errors import PipelineError

DATA = "data"
"""The folder of a served model with all that it consists of (`pipeline.registry.served_model`)."""
NO_FILES = "has no files"
_NOT_KNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers where there is no such model, run or version."""


class UnreachableFilesError(PipelineError):
    """Whether a model's files are there cannot be told from here: their store does not answer, or not to us."""


def missing_files(client: MlflowClient, source: str) -> str | None:
    """What is not there of a model, given where it is (models:/..., runs:/..., or a URI); None if nothing is.

    Raises:
        UnreachableFilesError: nobody can tell.
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
    except Exception as error:  # any that the store's own client raises: for want of it, of a key, of an answer
        reason = " ".join(str(error).split())
        if isinstance(error, MlflowException) and error.error_code in _NOT_KNOWN:
            return f"is nowhere in MLflow ({reason})"
        raise UnreachableFilesError(f"cannot be listed ({reason})") from error


def may_be_here(client: MlflowClient, source: str) -> bool:
    """Whether the files would be on this machine, or where it can reach them: not where a path is another machine's."""
    repository = get_artifact_repository(source, tracking_uri=client.tracking_uri)
    place = getattr(repository, "repo", repository)  # to which models:/ and runs:/ lead
    if not isinstance(place, LocalArtifactRepository):
        return True
    # The experiment's folder, whether it is ROOT/models/ID/artifacts of a model, or ROOT/RUN/artifacts/NAME of a run.
    return Path(place.artifact_dir).parent.parent.parent.is_dir()


def lost_version(client: MlflowClient, model_name: str, number: int, run_id: str) -> str | None:
    """Names what is gone of the version that was registered of a run; None if nothing is.

    Raises:
        UnreachableFilesError: nobody can tell.
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
