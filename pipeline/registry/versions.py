"""Model versions: registering one, what was measured of it, listing them."""

from dataclasses import asdict, dataclass

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from pipeline.config import experiment_name
from pipeline.errors import UsageError
from vit.data.image_files import folder_name
from vit.files.storage import Folder

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True)
class TestFigures:
    """How good a version was found to be before it was registered. It is kept as the version's tags."""

    __test__ = False  # not a test of pytest's

    test_digest: str
    """`Dataset.test_digest`: results on different test images do not compare."""
    test_correct: int
    test_images: int
    val_accuracy: float
    """Fraction, of the validation images."""

    def to_tags(self) -> dict[str, str]:
        figures = {**asdict(self), "test_accuracy": self.test_correct / self.test_images}
        return {f"pipeline.{name}": str(value) for name, value in figures.items()}

    @classmethod
    def from_tags(cls, tags: dict[str, str]) -> "TestFigures | None":
        """None for a version that something else than this pipeline registered."""
        try:
            return cls(
                test_digest=tags["pipeline.test_digest"],
                test_correct=int(tags["pipeline.test_correct"]),
                test_images=int(tags["pipeline.test_images"]),
                val_accuracy=float(tags["pipeline.val_accuracy"]),
            )
        except (KeyError, ValueError):
            return None

    def __str__(self) -> str:
        return f"{self.test_correct} of {self.test_images} test images right"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version as the registry has it now."""

    version: int
    aliases: tuple[str, ...]
    measured: TestFigures | None
    run_id: str


def model_name_of(dataset: str) -> str:
    """The registered model of a data set, given by name or by the path of its folder.

    Raises:
        UsageError: empty, or `auto`: that is one data set on this machine and maybe another on the next.
    """
    if dataset in ("", "auto"):
        raise UsageError(f"--dataset is {dataset!r}, but must name the data set here, such as digits or cifar10")
    return experiment_name(folder_name(dataset))


def register(
    client: MlflowClient,
    model_name: str,
    run_id: str,
    weights: Folder,
    example_images: np.ndarray,
    measured: TestFigures,
    tags: dict[str, str],
    description: str,
) -> int:
    """Logs the model to the run, registers it as a new version and makes it the challenger.

    A command that died in between, or that is given again, registers nothing twice. A version that is already champion
    does not become challenger, and a newer challenger is not replaced.

    Args:
        client: of `pipeline.tracking.server.open_client`, whose URI is MLflow's global one.
        model_name: the registered model; made if there is none.
        run_id: the run that trained the weights.
        weights: what `vit.files.checkpoint` saved: weights and card.
        example_images: uint8 (N, H, W, C), N >= 2: the signature's shape and the example in the UI.
        measured: what the gate will compare.
        tags: more tags of the version, by their full names, such as `pipeline.dataset`.
        description: of the version, in the registry's pages.

    Returns:
        The version's number.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    tags = {**tags, **measured.to_tags(), "pipeline.run_id": run_id}
    version = _version_of(client, model_name, run_id, measured)
    if version is None:
        version = _new_version(client, model_name, run_id, weights, example_images, tags, description)
    number, aliases = int(version.version), aliases_of(client, model_name)
    # A stage of an older sweep that runs again must not push a newer challenger aside.
    if number != aliases.get(CHAMPION) and number >= aliases.get(CHALLENGER, 0):
        client.set_registered_model_alias(model_name, CHALLENGER, str(number))
    return number


def _version_of(client: MlflowClient, model_name: str, run_id: str, measured: TestFigures) -> ModelVersion | None:
    found = [version for version in search_versions(client, model_name) if version.run_id == run_id]
    return next((version for version in found if TestFigures.from_tags(version.tags) == measured), None)


def _new_version(
    client: MlflowClient,
    model_name: str,
    run_id: str,
    weights: Folder,
    example_images: np.ndarray,
    tags: dict[str, str],
    description: str,
) -> ModelVersion:
    # It imports torch, which promoting and showing do without.
    from pipeline.registry.served_model import log_served_model
    from vit.files.checkpoint import load_model

    model, card = load_model(weights)
    model_id = log_served_model(client, client.get_run(run_id), model, card, example_images)
    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        model_name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags=tags,
        description=description,
    )


def list_versions(client: MlflowClient, model_name: str) -> list[RegisteredVersion]:
    """Every version of the model, oldest first. Raises UsageError where there is no such model."""
    aliases = aliases_of(client, model_name)
    versions = []
    for found in search_versions(client, model_name):
        number = int(found.version)
        its_aliases = tuple(sorted(alias for alias, version in aliases.items() if version == number))
        versions.append(RegisteredVersion(number, its_aliases, TestFigures.from_tags(found.tags), found.run_id or ""))
    return versions


def search_versions(client: MlflowClient, model_name: str) -> list[ModelVersion]:
    found = client.search_model_versions(f"name='{model_name}'")
    return sorted(found, key=lambda version: int(version.version))


def aliases_of(client: MlflowClient, model_name: str) -> dict[str, int]:
    """The versions by their aliases. Raises UsageError where there is no such model."""
    return {alias: int(version) for alias, version in find_model(client, model_name).aliases.items()}


def find_model(client: MlflowClient, model_name: str) -> RegisteredModel:
    """The registered model with its aliases and tags. Raises UsageError where there is none."""
    try:
        return client.get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UsageError(f"there is no registered model {model_name}: run a sweep, or give another --model") from error
