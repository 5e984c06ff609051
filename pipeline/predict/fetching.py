"""Fetches a registered model once, and checks it, for all workers that use it."""

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
    """MLflow's id of the model, which shows what an alias stood for; None for a model that exists only as a folder."""
    run_id: str | None
    """The run that trained the model."""


def fetch_model(uri: str) -> FetchedModel:
    """Fetches the model that `uri` names in MLflow's current tracking store, the global one.

    Args:
        uri: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model, or a path.

    Raises:
        UsageError: there is no such model, or this pipeline did not register it.
        PipelineError: its files are damaged, or loading it would unpickle code.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = Path(mlflow.artifacts.download_artifacts(uri, dst_path=scratch))
        except (MlflowException, OSError) as error:
            raise UsageError(f"--model is {uri}, which cannot be fetched: {error}") from error
        about = _about(uri, path)
        data = path / str(about.flavors["pytorch"]["model_data"])
        try:
            mlflow.pytorch.load_model(str(path))  # fails for a program whose loading would unpickle code
            served = ServedProgram((data / PROGRAM_FILE).read_bytes(), *read_labels(data))
        except Exception as error:  # torch, zip, json and MLflow each raise their own errors for a broken file
            raise PipelineError(f"--model is {uri}, which is not loaded: {error}") from error
        return FetchedModel(served, about.model_id, about.run_id)


def _about(uri: str, path: Path) -> Model:
    """Reads the model's MLmodel file. Raises UsageError if this pipeline did not register the model."""
    try:
        about = Model.load(str(path))
        data = path / str(about.flavors["pytorch"]["model_data"])
        if (data / LABELS_FILE).is_file() and (data / PROGRAM_FILE).is_file():
            return about
    except (MlflowException, KeyError):
        pass
    raise UsageError(f"--model is {uri}, but must be a model that this pipeline registered: MLmodel, labels and pt2")
