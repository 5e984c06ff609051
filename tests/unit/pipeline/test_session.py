"""How a session ends when something fails in the middle of it, whatever that is."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

import pipeline.session
from pipeline.exits import PipelineError, UsageError
from pipeline.interrupt import Interrupt
from pipeline.session import under_way


class Runs:
    """In the tracker's place."""

    uri = "http://there"

    def __init__(self) -> None:
        self.ends: list[tuple[str, dict[str, str]]] = []

    def end_open_runs(self, status: str, tags: dict[str, str]) -> None:
        self.ends.append((status, tags))

    def close(self, timeout: float | None = None) -> None:
        """Nothing to wait for."""


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(pipeline.session, "connected", lambda *cluster: nullcontext())
    said: list[str] = []
    return SimpleNamespace(
        config=SimpleNamespace(address=None, tracking_timeout=1.0), interrupt=Interrupt(), seconds={}, tracker=Runs(),
        start_run=bool, end_run=bool, command_line="python -m pipeline.sweep", said=said, say=said.append,
    )  # fmt: skip


def test_what_mlflow_says_of_its_server_becomes_one_line(session: Any) -> None:
    with pytest.raises(PipelineError, match=r"^http://there fails: the server is away$") as failed, under_way(session):
        raise MlflowException("the server is away")
    assert failed.value.status == 1
    assert session.said == ["to go on: python -m pipeline.sweep"]
    ((status, tags),) = session.tracker.ends
    assert (status, tags["pipeline.error"]) == ("FAILED", "MlflowException: the server is away")


def test_other_errors_stay_what_they_are(session: Any) -> None:
    with pytest.raises(ZeroDivisionError), under_way(session):
        1 / 0  # noqa: B018 - raises
    assert session.said == ["to go on: python -m pipeline.sweep"]


def test_a_command_that_would_be_refused_again_is_not_named(session: Any) -> None:
    with pytest.raises(UsageError), under_way(session):
        raise UsageError("--cpus-per-trial is 64, but this node has 2")
    assert session.said == []


def test_an_interrupt_is_no_failure(session: Any) -> None:
    with pytest.raises(KeyboardInterrupt), under_way(session):
        raise KeyboardInterrupt
    assert session.tracker.ends == [("KILLED", {"pipeline.stopped": "interrupted"})]
