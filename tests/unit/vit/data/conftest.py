"""What the tests of the readers share."""

from pathlib import Path

import pytest


@pytest.fixture
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests see none of the user's copies and leave nothing in the user's cache."""
    monkeypatch.delenv("VIT_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
