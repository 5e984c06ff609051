"""Model versions: what was measured of each, which alias it has."""

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


def find_version(client: MlflowClient, model: str) -> ModelVersion:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means, with or without `models:/`.

    Raises:
        UsageError: it is neither, or there is no such version.
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
    """The same, with MLflow's own errors: MlflowException where there is none, or the name is none."""
    plain = model.removeprefix("models:/")
    name, at, alias = plain.partition("@")
    if at:
        return client.get_model_version_by_alias(name, alias)
    name, _, number = plain.rpartition("/")
    return client.get_model_version(name, number)


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
