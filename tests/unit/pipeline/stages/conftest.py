"""Provides a sweep's session without Ray, with a tracking store of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.config import SweepConfig
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession
from vit.data.dataset import DataConfig


@pytest.fixture
def session(tmp_path: Path) -> Iterator[SweepSession]:
    data = DataConfig("digits", train_limit=50)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    config = SweepConfig(data=data, storage=str(tmp_path), tracking_uri=uri, precision="fp32", finalists=1, seeds=1)
    with open_session(SweepSession, config, Console(quiet=True)) as session:
        yield session
        session.tracker.close()
