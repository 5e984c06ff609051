"""A client in whose process the power fails."""

from collections.abc import Callable

from mlflow import MlflowClient

WRITES = ("set_", "delete_", "create_", "log_")


class KilledError(BaseException):
    """Nothing catches it, as nothing catches `kill -9`."""


class KilledClient:
    """Does as the client does, for some writes; then nothing any more."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self._client, self._left = client, writes

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith(WRITES):
            if self._left == 0:
                raise KilledError(name)
            self._left -= 1
        found: Callable[..., object] = getattr(self._client, name)
        return found
