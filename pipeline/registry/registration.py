"""Registers a version of a model: its files, its tags, its description, its alias."""

import json

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from pipeline.registry.model_card import model_card
from pipeline.registry.model_files import missing_files
from pipeline.registry.passport import Passport
from pipeline.registry.versions import CHALLENGER, CHAMPION, TestFigures, aliases_of, search_versions
from vit.files.checkpoint import load_model
from vit.files.storage import Folder

_EXPORT_TAG = "pipeline.export"
"""The tag of a version that has an ONNX file."""


def register(
    client: MlflowClient, passport: Passport, weights: Folder, example_images: np.ndarray, with_onnx: bool = False
) -> int:
    """Logs the model to its run, registers it as a new version and makes it the challenger.

    A command that is run again, also after it was killed halfway, registers nothing twice, unless the files are gone. A
    version that is already champion does not become challenger, and a newer challenger is not replaced.

    Args:
        client: a client from `pipeline.tracking.server.open_client`, so that its URI is also MLflow's global one.
        passport: describes the version.
        weights: the folder in which `vit.files.checkpoint` saved the weights and the card.
        example_images: uint8 (N, H, W, C), N >= 2: their shape is the model's, and they are the example in the UI.
        with_onnx: whether to export the model as ONNX, too. An earlier version without an ONNX file then does not
            count, and a new version is registered.

    Returns:
        The version's number.

    Raises:
        CheckpointError: the weights cannot be read.
        PipelineError: the ONNX file's probabilities differ from the model's, or an earlier version's files cannot be
            reached.
    """
    name = passport.model_name
    version = _version_of(client, passport, with_onnx)
    if version is None:
        version = _new_version(client, passport, weights, example_images, with_onnx)
    number, aliases = int(version.version), aliases_of(client, name)
    # When a stage of an older sweep runs again, it must not replace a newer challenger.
    if number != aliases.get(CHAMPION) and number >= aliases.get(CHALLENGER, 0):
        client.set_registered_model_alias(name, CHALLENGER, str(number))
    return number


def _version_of(client: MlflowClient, passport: Passport, with_onnx: bool) -> ModelVersion | None:
    run_id, measured = passport.origin.run_id, passport.figures.measured
    found = [version for version in search_versions(client, passport.model_name) if version.run_id == run_id]
    if with_onnx:
        found = [version for version in found if _EXPORT_TAG in version.tags]
    same = (version for version in found if TestFigures.from_tags(version.tags) == measured)
    return next((version for version in same if missing_files(client, str(version.source)) is None), None)


def _new_version(
    client: MlflowClient, passport: Passport, weights: Folder, example_images: np.ndarray, with_onnx: bool
) -> ModelVersion:
    # Imported only when there is something to register: it imports mlflow.pytorch, which takes seconds and silences
    # loggers.
    from pipeline.registry.served_model import log_served_model

    run_id, name = passport.origin.run_id, passport.model_name
    model, card = load_model(weights)
    model_id = log_served_model(client, client.get_run(run_id), model, card, example_images, passport, with_onnx)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={**passport.tags, _EXPORT_TAG: "onnx"} if with_onnx else passport.tags,
        description=model_card(passport),
    )
    # With this tag, the page of the run's logged model links to the version.
    link = [{"name": name, "version": int(version.version)}]
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(link)})
    return version
