"""Provides stores for each test, copied from stores that are made once, because MLflow takes seconds to make one."""

from pathlib import Path

import pytest

from tests.unit.pipeline.copy_store.stores import copied, make_own_store, make_team_store


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    make_own_store(folder / "own")
    make_team_store(folder / "team")
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """The folder of a store; its rows place its files in the folder that it was copied from, where they still are."""
    return copied(made / "own", tmp_path / "own")


@pytest.fixture
def team(made: Path, tmp_path: Path) -> Path:
    return copied(made / "team", tmp_path / "team")
