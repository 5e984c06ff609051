"""Fetching a registered model, once and checked, for all who use it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
import mlflow.pytorch
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from pipeline.errors import PipelineError, UsageError
from pipeline.predict.classifier import ServedProgram
from vit.files.serving import LABELS_FILE, PROGRAM_FILE, read_labels


@dataclass(frozen=True)
class FetchedModel:
    served: ServedProgram
    model_id: str | None
    """Of MLflow: what the alias meant. Only a model that is no more than a folder has none."""
    run_id: str | None
    """That trained it."""


def fetch_model(uri: str) -> FetchedModel:
    """The model that `uri` names in the store that is MLflow's global one.

    Args:
        uri: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model, or a path.

    Raises:
        UsageError: there is no such model, or it is not one that this pipeline registered.
        PipelineError: loading it would unpickle code.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = Path(mlflow.artifacts.download_artifacts(uri, dst_path=scratch))
        except (MlflowException, OSError) as error:
            raise UsageError(f"--model is {uri}, which cannot be fetched: {error}") from error
        about = _about(uri, path)
        data = path / str(about.flavors["pytorch"]["model_data"])
        try:
            mlflow.pytorch.load_model(str(path))  # refuses a program that would unpickle code as it is loaded
        except MlflowException as error:
            raise PipelineError(f"--model is {uri}, which is not loaded: {error}") from error
        served = ServedProgram((data / PROGRAM_FILE).read_bytes(), *read_labels(data))
        return FetchedModel(served, about.model_id, about.run_id)


def _about(uri: str, path: Path) -> Model:
    """What its MLmodel says."""
    try:
        about = Model.load(str(path))
        data = path / str(about.flavors["pytorch"]["model_data"])
        if (data / LABELS_FILE).is_file() and (data / PROGRAM_FILE).is_file():
            return about
    except (MlflowException, KeyError):
        pass
    raise UsageError(f"--model is {uri}, but must be a model that this pipeline registered: MLmodel, labels and pt2")
