"""What the tests with real processes share; `commands.py` starts them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.commands import TrackingServer


@pytest.fixture
def tracking_server(tmp_path: Path) -> Iterator[TrackingServer]:
    """Runs, and keeps its runs and artifacts in `tmp_path`; a test may take it away and bring it back."""
    server = TrackingServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()
