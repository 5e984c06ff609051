"""A fixture that the tests of the data set readers share."""

from pathlib import Path

import pytest


@pytest.fixture
def own_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the user's copies of data sets from the tests, and keeps the tests from writing to the user's cache."""
    monkeypatch.delenv("VIT_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
