"""The fixtures that the integration tests share; `commands.py` starts their processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.commands import TrackingServer


@pytest.fixture
def tracking_server(tmp_path: Path) -> Iterator[TrackingServer]:
    """A running server that keeps its runs and artifacts in `tmp_path`; a test may stop it and start it again."""
    server = TrackingServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()
