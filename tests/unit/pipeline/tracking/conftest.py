"""Provides a tracker that writes to a real SQLite store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking.tracker import Tracker
from tests.deadline import DEADLINE
from tests.unit.pipeline.tracking.tracked import experiment_numbers


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking") / "mlflow.db"


@pytest.fixture
def tracker(database: Path) -> Iterator[Tracker]:
    tracker = Tracker(f"sqlite:///{database}", f"experiment-{next(experiment_numbers)}")
    yield tracker
    tracker.close(timeout=DEADLINE)
