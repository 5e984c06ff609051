"""The commands' folders, and what in them nobody needs."""

import contextlib
import json
import uuid
from pathlib import Path

import fsspec
import pytest
from mlflow import MlflowClient

from pipeline.diagnosis import storage
from pipeline.diagnosis.command_runs import Records
from pipeline.diagnosis.finding import mended
from pipeline.diagnosis.storage import CommandFolder, check_folder, command_folders, find_leftovers
from pipeline.errors import PipelineError, UsageError
from pipeline.session.lock import locked
from pipeline.trials.folder import TrialLedger
from tests.unit.pipeline.diagnosis.command_store import COMMAND, HERE, command_folder, start_runs
from vit.files.storage import Folder


def test_what_a_death_leaves_of_a_file_is_known_by_its_name(tmp_path: Path) -> None:
    class Died(BaseException):
        """In the middle of writing a file."""

    def die(*_: object) -> None:
        left.extend(path.name for path in tmp_path.iterdir())
        raise Died

    left: list[str] = []
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Died):
        patch.setattr(Path, "replace", die)
        Folder(str(tmp_path)).write("latest.pt", b"x")
    assert [bool(storage.TEMPORARY.fullmatch(name)) for name in left] == [True]


def test_leftovers_are_what_no_command_reads_again() -> None:
    temporary = f".latest.pt.{uuid.uuid4().hex}"
    needed = [
        "session.json", ".lock", "finalists/0/00000/trial.json", "finalists/1/00000/latest.pt", "trials",
        "trials/00000", "trials/00000/trial.json",
        "trials/00000/history.json", "trials/00000/model.safetensors", "trials/00000/config.json",
        "trials/00001/latest.pt", "trials/00001/previous.pt", ".session.json.1234", "tuned",
    ]  # fmt: skip
    leftovers = {
        "probe": 1, "tune": 0, "tune/a/b.json": 20, "tune/c": 30, "trials/00000/latest.pt": 400,
        "trials/00000/previous.pt": 500, "ray-train": 0, "ray-train/0a/order.json": 6000,
        "finalists/0/00000/latest.pt": 10, "audit/00000/previous.pt": 11,
        f"trials/00001/{temporary}": 8, f".session.json.{uuid.uuid4().hex}": 9,
    }  # fmt: skip
    over = {"trials/00000", "finalists/0/00000", "audit/00000"}
    found = find_leftovers({**dict.fromkeys(needed, 100), **leftovers}, over.__contains__)
    assert set(found) == {path for path in leftovers if "tune/" not in path and "ray-train/" not in path}
    assert (found["tune"], found["ray-train"], sum(found.values())) == (50, 6000, sum(leftovers.values()))


def filled(folder: CommandFolder) -> Folder:
    """With a trial that is over and one that is not, and things of 10 bytes that nothing needs."""
    place, trials = Folder(folder.uri), Folder(f"{folder.uri}/trials")
    for index, outcome in (("00000", "finished"), ("00001", None)):
        TrialLedger({}, outcome=outcome).write(trials / index)
        for name in ("latest.pt", "previous.pt", "model.safetensors", "history.json"):
            (trials / index).write(name, b"0123456789")
    place.write("tune/experiment/state.json", b"0123456789")
    place.write("ray-train/0a/order.json", b"0123456789")
    return place


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_leftovers_are_removed_and_the_rest_stays(client: MlflowClient, tmp_path: Path, memory: str, kind: str) -> None:
    folder = command_folder(str(tmp_path / "sweeps") if kind == "local" else memory)
    assert folder.owner is not None
    place = filled(folder)
    temporary = f"trials/00001/.latest.pt.{uuid.uuid4().hex}"
    place.write(temporary, b"0123456789")
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": HERE})
    before = set(folder.files())
    (unfinished, finding) = check_folder(folder, Records(client))
    assert unfinished.line == f"unfinished: {folder.uri} is not finished: to go on: {COMMAND}"
    leftovers = {"tune", "ray-train", "trials/00000/latest.pt", "trials/00000/previous.pt", temporary}
    assert set(finding.details["paths"]) == leftovers
    assert set(folder.files()) == before
    assert mended(finding).line.endswith("mended: removed, 50 bytes freed")
    gone = {path for path in before if any(path == each or path.startswith(f"{each}/") for each in leftovers)}
    assert set(folder.files()) - {".lock"} == before - gone
    assert [each.kind for each in check_folder(folder, Records(client))] == ["unfinished"]


def test_a_folder_in_use_is_not_looked_at(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    filled(folder)
    with locked(folder.uri):
        assert list(check_folder(folder, Records(client))) == []
    (_, finding) = check_folder(folder, Records(client))
    with locked(folder.uri):
        before = folder.files()
        assert mended(finding).advice.startswith(f"it could not be mended: {folder.uri} is in use")
        assert folder.files() == before


def test_what_a_storage_does_not_remove_is_not_called_removed(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    filled(folder)
    (_, finding) = check_folder(folder, Records(client))
    monkeypatch.setattr(Folder, "remove_folder", lambda *_: None)
    assert mended(finding).advice == "it could not be mended: ray-train, tune is still there"


def test_leftovers_are_left_alone_where_a_command_may_be_under_way_elsewhere(client: MlflowClient, memory: str) -> None:
    folder = command_folder(memory)
    assert folder.owner is not None
    filled(folder)
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": "another"})
    (finding,) = check_folder(folder, Records(client))
    assert (finding.kind, finding.state, finding.mend) == ("leftover", "information", None)
    assert finding.line.endswith(": left alone, since a command may be under way (it ran on another)")


def test_a_folder_that_mlflow_knows_nothing_of_is_told_with_its_size(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    Folder(folder.uri).write("trials/00000/model.safetensors", bytes(2_000_000))
    (finding,) = check_folder(folder, Records(client))
    assert finding.line == (
        f"checkpoint: {folder.uri} (2.0 MB) has no run in this tracking store: give its command again, which tells "
        "MLflow all of it again; or remove the folder"
    )
    assert (finding.state, finding.mend) == ("open", None)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"id": "a/b"}', b'{"id": 3}', b"{}"])
def test_a_session_that_cannot_be_read_is_told(client: MlflowClient, tmp_path: Path, content: bytes) -> None:
    Folder(f"{tmp_path}/sweeps/sweep-x-1").write("session.json", content)
    (folder,) = command_folders(f"{tmp_path}/sweeps", must_exist=True)
    (finding,) = check_folder(folder, Records(client))
    assert "has a session.json that cannot be read: remove session.json and give its command again" in finding.line


@pytest.mark.parametrize("finished", [True, False, None])
def test_a_command_that_came_to_its_end_is_no_finding(
    client: MlflowClient, tmp_path: Path, finished: bool | None
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri)
    memory = {"id": folder.owner} | ({} if finished is None else {"finished": finished})
    Folder(folder.uri).write("session.json", json.dumps(memory).encode())
    assert [finding.kind for finding in check_folder(folder, Records(client))] == ([] if finished else ["unfinished"])


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_the_folders_of_a_storage_are_those_with_a_session(tmp_path: Path, memory: str, kind: str) -> None:
    storage = str(tmp_path / "sweeps") if kind == "local" else memory
    expected = [command_folder(storage, name) for name in ("sweep-x-1", "train-x-2")]
    Folder(f"{storage}/another").write("file", b"")
    Folder(storage).write("file", b"")
    assert command_folders(f"{storage}/", must_exist=True) == expected


def test_a_storage_that_is_not_there_is_refused_unless_it_is_the_default(tmp_path: Path) -> None:
    missing = f"{tmp_path}/missing"
    assert command_folders(missing, must_exist=False) == []
    for place in (missing, f"memory://{uuid.uuid4().hex}"):
        with pytest.raises(UsageError, match=f"--storage is {place}, but there is no such folder"):
            command_folders(place, must_exist=True)
    with pytest.raises(UsageError, match="--storage leads to nosuch://a, which cannot be read"):
        command_folders("nosuch://a", must_exist=True)


def test_a_storage_that_does_not_answer_is_no_bad_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "ls", refuse)
    with pytest.raises(PipelineError, match="which cannot be read: no credentials") as refused:
        command_folders("memory://a", must_exist=False)
    assert refused.value.status == 1
