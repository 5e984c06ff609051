"""Tests of which folder a session continues in, and how it ends when anything fails in the middle of it."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from mlflow.exceptions import MlflowException
from requests import HTTPError
from rich.console import Console

from pipeline.config import SweepConfig
from pipeline.errors import PipelineError, UsageError
from pipeline.session import lifecycle
from pipeline.session.folder import SESSION_FILE, folder_to_use
from pipeline.session.lifecycle import open_session, running_command
from pipeline.session.lock import locked
from pipeline.session.memory import SessionMemory
from pipeline.session.session import Session
from pipeline.terminal.interrupt import Interrupt
from pipeline.tracking.tracker import Tracker
from tests.deadline import DEADLINE
from vit.data.dataset import DataConfig, Dataset
from vit.files.storage import Folder


class Runs:
    """Stands in for the tracker; `ends` holds the status and the tags with which the runs were ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, dict[str, str]]] = []

    def end_open_runs(self, status: str, tags: dict[str, str]) -> None:
        self.ends.append((status, tags))

    def close(self, timeout: float | None = None) -> None:
        """Does nothing, since there is nothing to wait for."""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(lifecycle, "connected", lambda *cluster: nullcontext())
    said: list[str] = []
    memory = SessionMemory(str(tmp_path), forced=None)
    return SimpleNamespace(
        config=SimpleNamespace(address=None, tracking_timeout=1.0, forced=None), console=SimpleNamespace(),
        interrupt=Interrupt(), ray_seconds=None, tracker=Runs(),
        start_run=bool, end_run=bool, command_line="python -m pipeline.sweep", said=said, say=said.append,
        memory=memory, folder=str(tmp_path),
    )  # fmt: skip


@pytest.mark.parametrize("error", [MlflowException("the server is away"), HTTPError("the server is away")])
def test_what_mlflow_says_of_its_server_becomes_one_line(tmp_path: Path, error: Exception) -> None:
    """This holds whether the server fails while a command plans or later."""
    with pytest.raises(PipelineError) as failed, open_bare(tmp_path):
        raise error
    assert str(failed.value) == f"sqlite:///{tmp_path}/mlflow.db fails: the server is away"
    assert failed.value.status == 1


def test_so_does_what_it_says_when_a_session_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise MlflowException("the server is away")

    monkeypatch.setattr(Tracker, "_open_experiment", away)
    with pytest.raises(PipelineError, match=r"mlflow\.db fails: the server is away$"), open_bare(tmp_path):
        raise AssertionError("it opened")


def test_an_error_is_told_by_the_run_and_the_command_to_go_on_by_the_terminal(session: Any) -> None:
    with pytest.raises(MlflowException), running_command(session):
        raise MlflowException("the server is away")
    assert session.said == ["to go on: python -m pipeline.sweep"]
    ((status, tags),) = session.tracker.ends
    assert (status, tags["pipeline.error"]) == ("FAILED", "MlflowException: the server is away")


def test_other_errors_stay_what_they_are(session: Any) -> None:
    with pytest.raises(ZeroDivisionError), running_command(session):
        1 / 0  # noqa: B018 - raises
    assert session.said == ["to go on: python -m pipeline.sweep"]


def test_a_command_that_would_be_refused_again_is_not_named(session: Any) -> None:
    with pytest.raises(UsageError), running_command(session):
        raise UsageError("--cpus-per-trial is 64, but this node has 2")
    assert session.said == []


def test_an_interrupt_is_no_failure(session: Any) -> None:
    with pytest.raises(KeyboardInterrupt), running_command(session):
        raise KeyboardInterrupt
    assert session.tracker.ends == [("KILLED", {"pipeline.stopped": "interrupted"})]


def test_only_what_came_to_its_end_is_remembered_as_finished(session: Any) -> None:
    with running_command(session):
        assert not session.memory.remembered("finished")
    assert session.memory.remembered("finished") is True
    with pytest.raises(OSError), running_command(session):
        raise OSError("disk full")
    assert not session.memory.remembered("finished")


# Which folder is used


@pytest.fixture(params=["path", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Returns the path or URI of the first folder, with which the names of the later ones begin."""
    return f"{tmp_path}/sweep-x-1" if request.param == "path" else f"memory://{uuid4()}/sweep-x-1"


def begin(folder: str, forced: str | None, finished: bool = False) -> None:
    memory = {"id": "1", "forced": forced, **({"finished": True} if finished else {})}
    Folder(folder).write(SESSION_FILE, json.dumps(memory).encode())


@pytest.mark.parametrize("forced", [None, "--no-cache", "--from search"])
def test_the_first_command_takes_the_bare_name(base: str, forced: str | None) -> None:
    assert folder_to_use(base, forced) == base


@pytest.mark.parametrize("finished", [False, True])
def test_a_forced_command_begins_anew_beside_what_was_not(base: str, finished: bool) -> None:
    begin(base, None, finished)
    assert folder_to_use(base, None) == base
    assert folder_to_use(base, "--no-cache") == f"{base}-2"


def test_what_was_begun_anew_goes_on_until_it_has_finished(base: str) -> None:
    begin(base, None, finished=True)
    begin(f"{base}-2", "--no-cache")
    assert folder_to_use(base, "--no-cache") == f"{base}-2"
    assert folder_to_use(base, "--from search") == f"{base}-3"
    begin(f"{base}-2", "--no-cache", finished=True)
    assert folder_to_use(base, "--no-cache") == f"{base}-3"


def test_a_first_command_that_was_forced_goes_on_as_well(base: str) -> None:
    begin(base, "--no-cache")
    assert folder_to_use(base, "--no-cache") == base
    begin(base, "--no-cache", finished=True)
    assert folder_to_use(base, "--no-cache") == f"{base}-2"


def test_an_unforced_command_takes_the_newest(base: str) -> None:
    begin(base, None, finished=True)
    for number in range(2, 12):
        begin(f"{base}-{number}", "--no-cache", finished=number < 11)
    assert folder_to_use(base, None) == f"{base}-11"


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("search", set()),
        ("confirm", {"trials", "audit"}),
        ("audit", {"trials", "finalists"}),
        ("report", {"trials", "audit", "finalists"}),
    ],
)
def test_what_a_stage_and_those_after_it_do_not_train_goes_on_where_it_was(
    base: str, stage: str, kept: set[str]
) -> None:
    """Otherwise, `--trials 48` after a `--from report` would train the earlier 32 trials again."""
    begin(base, None, finished=True)
    assert SessionMemory(base, None).trained_in == {}
    forced = f"--from {stage}"
    second = folder_to_use(base, forced)
    assert SessionMemory(second, forced).trained_in == dict.fromkeys(kept, base)
    assert SessionMemory(second, None).trained_in == dict.fromkeys(kept, base)  # a later command over this folder
    SessionMemory(second, forced).remember("finished", True)
    third = SessionMemory(folder_to_use(base, "--from report"), "--from report")
    assert third.trained_in == {name: base if name in kept else second for name in ("trials", "audit", "finalists")}
    assert SessionMemory(folder_to_use(base, "--no-cache"), "--no-cache").trained_in == {}


@pytest.mark.parametrize("name", ["sweep-x-1a2b3c4d", "sweep-x-12345678"])
def test_the_first_folder_of_its_name_goes_on_with_no_others(base: str, name: str) -> None:
    """A command may be the first on its machine if all stages before have finished on another one."""
    folder = f"{base.rpartition('/')[0]}/{name}"
    assert SessionMemory(folder, "--from evaluate").trained_in == {}


class Bare(Session[SweepConfig]):
    """A session that runs nothing."""

    kind: ClassVar[str] = "bare"
    command: ClassVar[str] = "pipeline.bare"

    @classmethod
    def identity(cls, config: SweepConfig, dataset: Dataset) -> dict[str, Any]:
        return {"trials": config.trials}

    def start_run(self) -> None:
        """Does nothing."""

    def end_run(self) -> None:
        """Does nothing."""


def open_bare(folder: Path, kind: type[Bare] = Bare, **options: Any) -> AbstractContextManager[Bare]:
    config = SweepConfig(
        data=DataConfig("digits", train_limit=20), storage=str(folder / "sweeps"),
        tracking_uri=f"sqlite:///{folder}/mlflow.db", **options,
    )  # fmt: skip
    return open_session(kind, config, Console())


def test_commands_over_one_storage_find_their_folders(tmp_path: Path) -> None:
    def opened(finishes: bool, **options: Any) -> tuple[str, str]:
        with open_bare(tmp_path, **options) as session:
            session.memory.remember("finished", finishes)
            session.tracker.close(timeout=DEADLINE)
            return session.name, session.memory.owner

    first, owner = opened(True)
    assert first.startswith("bare-digits-")
    assert opened(True) == (first, owner)
    second, its_owner = opened(False, cache=False)
    assert (second, its_owner != owner) == (f"{first}-2", True)
    assert opened(True, cache=False) == (second, its_owner)
    third = opened(False, cache=False)
    assert third[0] == f"{first}-3"
    assert opened(True) == third
    assert opened(False, trials=33)[0].rpartition("-")[0] == first.rpartition("-")[0]
    assert opened(False, trials=33)[0] != first


def test_an_experiment_that_was_deleted_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """Otherwise, everything would be trained before MLflow refuses every run."""
    with open_bare(tmp_path) as session:
        client, experiment = session.tracker.client, session.tracker.experiment
    known = client.get_experiment_by_name(experiment)
    assert known is not None
    client.delete_experiment(known.experiment_id)
    with pytest.raises(UsageError, match=r"^experiment vit-digits was deleted in MLflow at .*: bring it back"):
        open_bare(tmp_path).__enter__()
    assert list((tmp_path / "sweeps").iterdir()) == []
    client.restore_experiment(known.experiment_id)
    with open_bare(tmp_path):
        pass


def test_where_trainings_go_on_no_other_command_runs(tmp_path: Path) -> None:
    with open_bare(tmp_path) as first:
        first.memory.remember("finished", True)
    with open_bare(tmp_path, from_stage="report") as second:
        assert second.trials_folder == f"{first.folder}/trials"
        second.memory.remember("finished", False)
        with pytest.raises(UsageError, match=f"^{first.folder} is in use"), locked(first.folder):
            pass


def test_a_command_that_begins_nothing_leaves_no_folder(tmp_path: Path) -> None:
    """Such a command is one whose stages have all finished on another machine, or `pipeline.reproduce --dry-run`."""
    with open_bare(tmp_path) as session:
        assert Path(session.folder, SESSION_FILE).exists()
    assert list((tmp_path / "sweeps").iterdir()) == []


def test_a_command_without_room_leaves_the_folder_to_go_on_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "connected", lambda *cluster: nullcontext())

    class NoRoom(Bare):
        def start_run(self) -> None:
            raise UsageError("--cpus-per-trial is 4096, but this node has 2")

    with open_bare(tmp_path) as session:
        session.memory.remember("finished", False)
    with pytest.raises(UsageError), open_bare(tmp_path, NoRoom, cache=False) as refused, running_command(refused):
        pass
    assert [path.name for path in (tmp_path / "sweeps").iterdir()] == [session.name]


def test_a_command_that_is_refused_leaves_the_folder_to_go_on_in(tmp_path: Path) -> None:
    def opened(refused: bool, **options: Any) -> str:
        with open_bare(tmp_path, **options) as session:
            if refused:
                raise UsageError("--from is confirm, but search has to run before")
            session.memory.remember("finished", False)
            return session.name

    first = opened(False)
    with pytest.raises(UsageError):
        opened(True, from_stage="confirm")
    assert opened(False) == first
    assert [path.name for path in (tmp_path / "sweeps").iterdir()] == [first]


@pytest.mark.parametrize("kept", ["trials", "finalists", "audit"])
def test_where_something_was_trained_nothing_is_removed_though_the_memory_is_lost(base: str, kept: str) -> None:
    """The user may remove a broken `session.json`, as the error message advises, and then run `--plan`."""
    folder = Folder(base)
    folder.write(f"{kept}/00000/trial.json", b"trained for hours")
    SessionMemory(base, forced=None).remove_if_unused()
    assert folder.exists(f"{kept}/00000/trial.json")


def test_where_nothing_was_trained_nothing_stays(base: str) -> None:
    SessionMemory(base, forced=None).remove_if_unused()
    assert not Folder(base).exists(SESSION_FILE)


def test_a_broken_memory_is_an_error_in_a_line(tmp_path: Path) -> None:
    with open_bare(tmp_path) as session:
        session.memory.remember("finished", False)
        session.tracker.close(timeout=DEADLINE)
        path = Path(session.folder, SESSION_FILE)
    path.write_text("")  # as a power cut may leave it
    with pytest.raises(PipelineError, match=f"^{path} is broken .*: remove it and give the same command again"):
        open_bare(tmp_path).__enter__()
