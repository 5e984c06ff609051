"""Fixtures of the diagnosis tests: a tracking store, and a storage that is not a local folder."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import mlflow
import pytest
from mlflow import MlflowClient


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def client(empty_database: Path, tmp_path: Path) -> MlflowClient:
    """The client of a store with the experiment `vit-x`; the store's URI is also MLflow's global tracking URI."""
    uri = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}"
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    client.create_experiment("vit-x", artifact_location=(tmp_path / "artifacts").as_uri())
    return client


@pytest.fixture
def memory() -> Iterator[str]:
    """Yields the URI of a storage that is not a local folder, and removes the storage after the test."""
    uri = f"memory://{uuid.uuid4().hex}/sweeps"
    yield uri
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(uri.removesuffix("/sweeps"), recursive=True)
