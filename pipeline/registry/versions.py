"""Finds the versions of registered models, with their aliases and what was measured of each."""

import re
from dataclasses import asdict, dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from pipeline.config import experiment_name
from pipeline.errors import UsageError
from vit.data.image_files import folder_name

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True)
class TestFigures:
    """What was measured of a version before it was registered; kept in the version's tags."""

    __test__ = False  # tells pytest that this class is not a test

    test_digest: str
    """`Dataset.test_digest`: results on different test images cannot be compared."""
    test_correct: int
    test_images: int
    val_accuracy: float
    """The accuracy on the validation images, as a fraction."""

    def to_tags(self) -> dict[str, str]:
        figures = {**asdict(self), "test_accuracy": self.test_correct / self.test_images}
        return {f"pipeline.{name}": str(value) for name, value in figures.items()}

    @classmethod
    def from_tags(cls, tags: dict[str, str]) -> "TestFigures | None":
        """Returns the figures in a version's tags; None where something other than this pipeline registered it."""
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
    """Returns the name of a data set's registered model. The data set is given by name or by the path of its folder.

    Raises:
        UsageError: `dataset` is empty or `auto`, which may stand for different data sets on different machines.
    """
    if dataset in ("", "auto"):
        raise UsageError(f"--dataset is {dataset!r}, but must name the data set here, such as digits or cifar10")
    return experiment_name(folder_name(dataset))


def list_versions(client: MlflowClient, model_name: str) -> list[RegisteredVersion]:
    """Returns every version of the model, oldest first. Raises UsageError where there is no such model."""
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


def find_version(client: MlflowClient, model: str) -> ModelVersion:
    """Returns the version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names; `models:/` may be left out.

    Raises:
        UsageError: `model` has neither form, or there is no such version.
    """
    if not re.fullmatch(r"(models:/)?[^/@:]+(@[^/@:]+|/\d+)", model):
        raise UsageError(f"the model is {model!r}, but must be models:/NAME@ALIAS or models:/NAME/VERSION")
    try:
        return get_version(client, model)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise UsageError(f"the model is {model!r}, but there is no such version: {error.message}") from error


def get_version(client: MlflowClient, model: str) -> ModelVersion:
    """Like `find_version`, but raises MlflowException where there is no such version or the name is not valid."""
    plain = model.removeprefix("models:/")
    name, at, alias = plain.partition("@")
    if at:
        return client.get_model_version_by_alias(name, alias)
    name, _, number = plain.rpartition("/")
    return client.get_model_version(name, number)


def aliases_of(client: MlflowClient, model_name: str) -> dict[str, int]:
    """Returns the version numbers by alias. Raises UsageError where there is no such model."""
    return {alias: int(version) for alias, version in find_model(client, model_name).aliases.items()}


def find_model(client: MlflowClient, model_name: str) -> RegisteredModel:
    """Returns the registered model with its aliases and tags. Raises UsageError where there is no such model."""
    try:
        return client.get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UsageError(f"there is no registered model {model_name}: run a sweep, or give another --model") from error
