"""A store for all of a module's tests, and models that are right and wrong as wanted, exported once."""

from pathlib import Path

import pytest

from tests.unit.pipeline.promote.registered_models import Versions, new_model, save_model


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a model that is right about every digit, and sure of it."""
    return save_model(tmp_path_factory.mktemp("good") / "model", wrong=(), confidence=0.99)


@pytest.fixture(scope="session")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one that is wrong about 20 of the 359, and as sure as it may be."""
    return save_model(tmp_path_factory.mktemp("fair") / "model", wrong=range(20), confidence=0.94)


@pytest.fixture(scope="session")
def nearly_fair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one image more right."""
    return save_model(tmp_path_factory.mktemp("nearly-fair") / "model", wrong=range(1, 20), confidence=0.94)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def versions(uri: str) -> Versions:
    """A registered model without versions."""
    return new_model(uri)
