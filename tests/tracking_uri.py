"""MLflow's global tracking URI: it stands in the environment, where the commands look for the user's own."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MLFLOW_TRACKING_URI"


@contextmanager
def tracking_uri_undone() -> Iterator[None]:
    """Puts it back to what it was before the block."""
    before = os.environ.get(VARIABLE)
    try:
        yield
    finally:
        if os.environ.get(VARIABLE) != before:
            if "mlflow" in sys.modules:
                sys.modules["mlflow"].set_tracking_uri(before)  # it remembers the URI itself, too
            os.environ.pop(VARIABLE, None)
            if before is not None:
                os.environ[VARIABLE] = before
