"""Provides a store for all tests of a module, and models that are right and wrong as wanted, exported once."""

from pathlib import Path

import pytest

from tests.unit.pipeline.promote.registered_models import Versions, new_model, save_named


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the model `good`; see `save_named`."""
    return save_named(tmp_path_factory.mktemp("models"), "good")


@pytest.fixture(scope="session")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the model `fair`; see `save_named`."""
    return save_named(tmp_path_factory.mktemp("models"), "fair")


@pytest.fixture(scope="session")
def nearly_fair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the model `nearly fair`; see `save_named`."""
    return save_named(tmp_path_factory.mktemp("models"), "nearly fair")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def versions(uri: str) -> Versions:
    """A registered model without versions."""
    return new_model(uri)
