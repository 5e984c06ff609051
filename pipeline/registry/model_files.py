"""Whether a registered model's files are there."""

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

DATA = "data"
"""The folder of a served model with all that it consists of (`pipeline.registry.served_model`)."""


def missing_files(client: MlflowClient, source: str) -> str | None:
    """What is not there of a model, given where it is (models:/..., runs:/..., or a URI); None if nothing is."""
    try:
        repository = get_artifact_repository(source, tracking_uri=client.tracking_uri)
        names = {file.path.rpartition("/")[2] for file in repository.list_artifacts(None)}
        if not names:
            return "has no files"
        if "MLmodel" not in names:
            return "has no MLmodel"
        if DATA not in names or not repository.list_artifacts(DATA):
            return "has no data"
        return None
    except Exception as error:  # the store's own: a run or a model that is gone, a bucket that does not answer
        return f"cannot be listed ({' '.join(str(error).split())})"
