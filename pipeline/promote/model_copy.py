"""Copies a registered version's files to this machine and computes a digest that identifies them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipeline.errors import GateRefusedError
from pipeline.registry.model_files import UnreachableFilesError, missing_files

GATE_FOLDER = "gate"
"""The folder of the gate's verdicts among a version's artifacts; they are added after the model's own files."""
_NOT_THE_MODELS = (GATE_FOLDER, "registered_model_meta")
"""Names that are not among the model's own files; MLflow adds the second to each copy."""


@dataclass(frozen=True)
class ModelCopy:
    """A version's files on this machine."""

    version: int
    folder: Path
    digest: str
    """`sha256:<hex>` of the model's own files: their names and contents."""
    size: int
    """The total size of these files, in bytes."""


def copy_model(client: MlflowClient, version: ModelVersion, into: Path) -> ModelCopy:
    """Copies the files of a version into a new folder in `into`.

    Raises:
        GateRefusedError: files are gone, or cannot be reached.
    """
    try:
        missing = missing_files(client, str(version.source))
    except UnreachableFilesError as error:
        missing = str(error)
    if missing is not None:
        raise GateRefusedError(f"version {version.version} of {version.name} {missing} at {version.source}")
    folder = into / f"version-{version.version}"
    folder.mkdir()
    try:
        repository = get_artifact_repository(str(version.source), tracking_uri=client.tracking_uri)
        repository.download_artifacts("", dst_path=str(folder))  # type: ignore[no-untyped-call]
    except (MlflowException, OSError) as error:
        raise GateRefusedError(
            f"the files of version {version.version} of {version.name} cannot be read at {version.source}: {error}"
        ) from error
    size = sum(path.stat().st_size for path in _own_files(folder))
    return ModelCopy(int(version.version), folder, digest_of_files(folder), size)


def digest_of_files(folder: Path) -> str:
    """Returns `sha256:<hex>` of the model's own files in a folder: names and contents, in the order of the names."""
    digest = hashlib.sha256()
    for path in _own_files(folder):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _own_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in _NOT_THE_MODELS:
            yield path
