"""MLflow set up as the commands do it, and no tracking URI that leaks: neither the user's own, nor one test's."""

import os
import sys
from collections.abc import Iterator

import pytest

from pipeline.tracking_server import prepare_mlflow

VARIABLE = "MLFLOW_TRACKING_URI"

prepare_mlflow()
os.environ.pop(VARIABLE, None)


def _undo_tracking_uri() -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    yield
    if os.environ.get(VARIABLE) == before:
        return
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(before)  # it remembers the URI itself, too
    os.environ.pop(VARIABLE, None)
    if before is not None:
        os.environ[VARIABLE] = before


_undo_after_module = pytest.fixture(scope="module", autouse=True)(_undo_tracking_uri)
_undo_after_test = pytest.fixture(autouse=True)(_undo_tracking_uri)
