"""Writes a registered model's files: MLflow's pytorch flavor (pt2) with `vit/files/serving.py` as python_function."""

import inspect
import json
import tempfile
import warnings
from pathlib import Path
from typing import Literal

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pandas as pd
import PIL
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Run
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import Array

import vit.data.pixels
import vit.files.serving
from pipeline.registry.onnx_model import ONNX_FILE, export_onnx
from pipeline.registry.passport import PASSPORT_FILE, Passport
from vit.files.checkpoint import ModelCard
from vit.files.serving import LABELS_FILE, Classifier
from vit.model.vision_transformer import VisionTransformer
from vit.training.precision import torch_version

_LOADER_MODULE = "vit_serving"
_COPIES = {"vit_pixels": vit.data.pixels, _LOADER_MODULE: vit.files.serving}
"""The code that is saved with a model, under module names of its own: named `vit.files.serving`, it would hide the
project's package `vit` in a process that loads a model before it imports `vit`."""


def log_served_model(
    client: MlflowClient,
    run: Run,
    model: VisionTransformer,
    card: ModelCard,
    example_images: np.ndarray,
    passport: Passport,
    with_onnx: bool = False,
) -> str:
    """Logs the model as an output of the run and returns its id, for `models:/<id>`; see `save_served_model`."""
    run_id = run.info.run_id
    # These steps replace `Model.log`, which would put the model into the global experiment instead of the run's.
    logged = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run_id, params=run.data.params)
    model_id = str(logged.model_id)
    status: Literal["READY", "FAILED"] = "FAILED"
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        about = Model(artifact_path=logged.artifact_location, run_id=run_id, model_uuid=model_id, model_id=model_id)
        with tempfile.TemporaryDirectory() as folder:
            save_served_model(Path(folder, "model"), model, card, example_images, about, with_onnx)
            Path(folder, "model", PASSPORT_FILE).write_text(passport.to_json(), encoding="utf-8")
            client.log_model_artifacts(model_id, str(Path(folder, "model")))
        status = "READY"
    finally:
        client.finalize_logged_model(model_id, status)
    return model_id


def save_served_model(
    path: Path,
    model: VisionTransformer,
    card: ModelCard,
    example_images: np.ndarray,
    mlflow_model: Model,
    with_onnx: bool = False,
) -> None:
    """Writes an MLflow model into the new folder `path`.

    Args:
        path: where to write; must not exist.
        model: the trained model, on the CPU and in evaluation mode.
        card: its normalisation and class names.
        example_images: uint8 (N, H, W, C) with N >= 2, since `torch.export` takes a batch size of 1 for a constant.
        mlflow_model: MLflow's description of the model; its flavors, signature and example are filled in here.
        with_onnx: whether to write an ONNX file beside the pt2, too.

    Raises:
        PipelineError: the ONNX file's probabilities differ from the model's.
    """
    if len(example_images) < 2:
        raise ValueError(f"example_images holds {len(example_images)} images, but must hold at least 2")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # torch.export's own deprecation warnings; none of them concerns this model.
        warnings.simplefilter("ignore")
        code = _copy_code(Path(folder))
        classifier = Classifier(model, card.normalisation).eval()
        mlflow.pytorch.save_model(
            classifier,
            path,
            mlflow_model=mlflow_model,
            code_paths=[str(file) for file in code],
            signature=_traced_signature(example_images),
            input_example=example_images,
            pip_requirements=_requirements(),
            serialization_format="pt2",
        )
    if with_onnx:
        export_onnx(
            path / mlflow_model.flavors["pytorch"]["model_data"] / ONNX_FILE, classifier, example_images.shape[1:]
        )
    _add_predictor(path, card, example_images, mlflow_model)


def _copy_code(folder: Path) -> list[Path]:
    """Writes the copies of the code into `folder`; they import each other by the names that they have in the model."""
    files = []
    for name, module in _COPIES.items():
        text = inspect.getsource(module)
        for other_name, other in _COPIES.items():
            text = text.replace(f"from {other.__name__} import", f"from {other_name} import")
        files.append(folder / f"{name}.py")
        files[-1].write_text(text, encoding="utf-8")
    return files


def _add_predictor(path: Path, card: ModelCard, example_images: np.ndarray, mlflow_model: Model) -> None:
    """Makes the predictor of class names the python_function, since MLflow's own would return bare arrays."""
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
    # A signature of the outputs only: one of the inputs would accept pixels or strings, not both (`Predictor.predict`).
    outputs = Schema([ColSpec("string", "class_name"), ColSpec(Array("float"), "probabilities")])
    mlflow_model.signature = ModelSignature(outputs=outputs)
    mlflow_model.save(str(path / "MLmodel"))


def _traced_signature(example_images: np.ndarray) -> ModelSignature:
    """Returns the signature that tells the export that the number of images varies."""
    return ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), (-1, *example_images.shape[1:]))]))


def _requirements() -> list[str]:
    """Returns the model's requirements, pinned here: MLflow would infer them by loading the model in a new process.

    That takes longer than everything else together.
    """
    return [
        f"mlflow=={mlflow.__version__}",
        f"torch=={torch_version()}",  # without a build suffix, which the package registry does not have
        f"numpy=={np.__version__}",
        f"pandas=={pd.__version__}",
        f"pillow=={PIL.__version__}",
    ]
