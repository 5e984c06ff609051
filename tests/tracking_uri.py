"""Restores MLflow's global tracking URI, which is in the environment, where the commands look for the user's own."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MLFLOW_TRACKING_URI"


@contextmanager
def tracking_uri_undone() -> Iterator[None]:
    """Resets the tracking URI at the end of the block to what it was before."""
    before = os.environ.get(VARIABLE)
    try:
        yield
    finally:
        if os.environ.get(VARIABLE) != before:
            if "mlflow" in sys.modules:
                sys.modules["mlflow"].set_tracking_uri(before)  # MLflow also keeps the URI in a variable of its own
            os.environ.pop(VARIABLE, None)
            if before is not None:
                os.environ[VARIABLE] = before
