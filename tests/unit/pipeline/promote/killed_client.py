"""An MLflow client that simulates a process killed between two of its writes."""

from collections.abc import Callable

from mlflow import MlflowClient

WRITES = ("set_", "delete_", "create_", "log_")


class KilledError(BaseException):
    """Ends the simulated process: no `except Exception` catches it, just as nothing catches `kill -9`."""


class KilledClient:
    """Forwards each call to the client, but raises KilledError at each write after the first `writes`."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self._client, self._left = client, writes

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith(WRITES):
            if self._left == 0:
                raise KilledError(name)
            self._left -= 1
        found: Callable[..., object] = getattr(self._client, name)
        return found
