"""A registered model's files: MLflow's pytorch flavor (pt2), with `vit/files/serving.py` as its python_function."""

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Literal

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Run
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import Array

import vit.files.serving
from pipeline.registry.passport import PASSPORT_FILE, Passport
from vit.files.checkpoint import ModelCard
from vit.files.serving import LABELS_FILE, Classifier
from vit.model.vision_transformer import VisionTransformer
from vit.training.precision import torch_version

_LOADER_MODULE = "vit_serving"
"""The copy's own name: as `vit.files.serving`, it would hide the project's `vit` from whoever loads a model first."""


def log_served_model(
    client: MlflowClient,
    run: Run,
    model: VisionTransformer,
    card: ModelCard,
    example_images: np.ndarray,
    passport: Passport,
) -> str:
    """Logs the model as an output of the run and returns its id, for `models:/<id>`; see `save_served_model`."""
    run_id = run.info.run_id
    # Step by step rather than `Model.log`, which files the model under the global experiment and not under the run's.
    logged = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run_id, params=run.data.params)
    model_id = str(logged.model_id)
    status: Literal["READY", "FAILED"] = "FAILED"
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        about = Model(artifact_path=logged.artifact_location, run_id=run_id, model_uuid=model_id, model_id=model_id)
        with tempfile.TemporaryDirectory() as folder:
            save_served_model(Path(folder, "model"), model, card, example_images, about)
            Path(folder, "model", PASSPORT_FILE).write_text(passport.to_json(), encoding="utf-8")
            client.log_model_artifacts(model_id, str(Path(folder, "model")))
        status = "READY"
    finally:
        client.finalize_logged_model(model_id, status)
    return model_id


def save_served_model(
    path: Path, model: VisionTransformer, card: ModelCard, example_images: np.ndarray, mlflow_model: Model
) -> None:
    """Writes an MLflow model into the new folder `path`.

    Args:
        path: where to write; must not exist.
        model: the trained model, on the CPU and in evaluation mode.
        card: its normalisation and class names.
        example_images: uint8 (N, H, W, C) with N >= 2, since `torch.export` takes a batch of one for a constant.
        mlflow_model: who the model is; its flavors, signature and example are filled in.
    """
    if len(example_images) < 2:
        raise ValueError(f"example_images holds {len(example_images)} images, but must hold at least 2")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # torch.export's own deprecations; none speaks of this model.
        warnings.simplefilter("ignore")
        loader = shutil.copyfile(vit.files.serving.__file__, Path(folder, f"{_LOADER_MODULE}.py"))
        mlflow.pytorch.save_model(
            Classifier(model, card.normalisation).eval(),
            path,
            mlflow_model=mlflow_model,
            code_paths=[str(loader)],
            signature=_signature(example_images),
            input_example=example_images,
            pip_requirements=_requirements(),
            serialization_format="pt2",
        )
    _add_predictor(path, card, example_images, mlflow_model)


def _add_predictor(path: Path, card: ModelCard, example_images: np.ndarray, mlflow_model: Model) -> None:
    """Puts the predictor of class names where MLflow's own would return bare arrays."""
    data = mlflow_model.flavors["pytorch"]["model_data"]
    labels = {"class_names": list(card.class_names), "image_shape": list(example_images.shape[1:])}
    (path / data / LABELS_FILE).write_text(json.dumps(labels), encoding="utf-8")
    mlflow.pyfunc.add_to_model(
        mlflow_model,
        loader_module=_LOADER_MODULE,
        data=data,
        code=mlflow_model.flavors["pytorch"]["code"],
        conda_env="conda.yaml",
        python_env="python_env.yaml",
    )
    mlflow_model.save(str(path / "MLmodel"))


def _signature(example_images: np.ndarray) -> ModelSignature:
    inputs = Schema([TensorSpec(np.dtype(np.uint8), (-1, *example_images.shape[1:]), name=None)])
    outputs = Schema([ColSpec("string", "class_name"), ColSpec(Array("float"), "probabilities")])
    return ModelSignature(inputs=inputs, outputs=outputs)


def _requirements() -> list[str]:
    """Pinned here: MLflow's inference loads the model in a new process and takes longer than all the rest."""
    return [
        f"mlflow=={mlflow.__version__}",
        f"torch=={torch_version()}",  # the package registry has no build's suffix
        f"numpy=={np.__version__}",
        f"pandas=={pd.__version__}",
    ]
