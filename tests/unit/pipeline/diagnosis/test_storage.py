"""Tests what is found wrong with commands' folders, and how it is mended."""

import json
import uuid
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.diagnosis.command_folders import CommandFolder, command_folders
from pipeline.diagnosis.command_runs import CommandRuns
from pipeline.diagnosis.finding import mended
from pipeline.diagnosis.storage import check_folder
from pipeline.session.lock import locked
from pipeline.trials.folder import TrialLedger
from tests.unit.pipeline.diagnosis.command_store import COMMAND, HERE, command_folder, start_runs
from vit.files.storage import Folder


def filled(folder: CommandFolder) -> Folder:
    """Writes a trial that is over, one that is not, and files of 10 bytes that nothing needs; returns the folder."""
    root, trials = Folder(folder.uri), Folder(f"{folder.uri}/trials")
    for index, outcome in (("00000", "finished"), ("00001", None)):
        TrialLedger({}, outcome=outcome).write(trials / index)
        for name in ("latest.pt", "previous.pt", "model.safetensors", "history.json"):
            (trials / index).write(name, b"0123456789")
    root.write("tune/experiment/state.json", b"0123456789")
    root.write("ray-train/0a/instruction.json", b"0123456789")
    return root


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_leftovers_are_removed_and_the_rest_stays(client: MlflowClient, tmp_path: Path, memory: str, kind: str) -> None:
    folder = command_folder(str(tmp_path / "sweeps") if kind == "local" else memory)
    assert folder.owner is not None
    root = filled(folder)
    temporary = f"trials/00001/.latest.pt.{uuid.uuid4().hex}"
    root.write(temporary, b"0123456789")
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": HERE})
    before = set(folder.files())
    (unfinished, finding) = check_folder(folder, CommandRuns(client))
    assert unfinished.line == f"unfinished: {folder.uri} is not finished: to go on: {COMMAND}"
    leftovers = {"tune", "ray-train", "trials/00000/latest.pt", "trials/00000/previous.pt", temporary}
    assert set(finding.details["paths"]) == leftovers
    assert set(folder.files()) == before
    assert mended(finding).line.endswith("mended: removed, 50 bytes freed")
    gone = {path for path in before if any(path == each or path.startswith(f"{each}/") for each in leftovers)}
    assert set(folder.files()) - {".lock"} == before - gone
    assert [each.kind for each in check_folder(folder, CommandRuns(client))] == ["unfinished"]


def test_a_folder_in_use_is_not_looked_at(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    filled(folder)
    with locked(folder.uri):
        assert list(check_folder(folder, CommandRuns(client))) == []
    (_, finding) = check_folder(folder, CommandRuns(client))
    with locked(folder.uri):
        before = folder.files()
        assert mended(finding).advice.startswith(f"it could not be mended: {folder.uri} is in use")
        assert folder.files() == before


def test_what_a_storage_does_not_remove_is_not_called_removed(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    filled(folder)
    (_, finding) = check_folder(folder, CommandRuns(client))
    monkeypatch.setattr(Folder, "remove_folder", lambda *_: None)
    assert mended(finding).advice == "it could not be mended: ray-train, tune is still there"


def test_leftovers_are_left_alone_where_a_command_may_be_under_way_elsewhere(client: MlflowClient, memory: str) -> None:
    folder = command_folder(memory)
    assert folder.owner is not None
    filled(folder)
    start_runs(client, folder.owner, folder.uri, {"pipeline.host": "another"})
    (finding,) = check_folder(folder, CommandRuns(client))
    assert (finding.kind, finding.state, finding.mend) == ("leftover", "information", None)
    assert finding.line.endswith(": left alone, since a command may be under way (it ran on another)")


def test_a_folder_that_mlflow_knows_nothing_of_is_reported_with_its_size(client: MlflowClient, tmp_path: Path) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    Folder(folder.uri).write("trials/00000/model.safetensors", bytes(2_000_000))
    (finding,) = check_folder(folder, CommandRuns(client))
    assert finding.line == (
        f"checkpoint: {folder.uri} (2.0 MB) has no run in this tracking store: run its command again, which "
        "records everything in MLflow again; or remove the folder"
    )
    assert (finding.state, finding.mend) == ("open", None)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"id": "a/b"}', b'{"id": 3}', b"{}"])
def test_a_session_that_cannot_be_read_is_reported(client: MlflowClient, tmp_path: Path, content: bytes) -> None:
    Folder(f"{tmp_path}/sweeps/sweep-x-1").write("session.json", content)
    (folder,) = command_folders(f"{tmp_path}/sweeps", must_exist=True)
    (finding,) = check_folder(folder, CommandRuns(client))
    assert "has a session.json that cannot be read: remove session.json and run its command again" in finding.line


@pytest.mark.parametrize("finished", [True, False, None])
def test_a_command_that_came_to_its_end_is_no_finding(
    client: MlflowClient, tmp_path: Path, finished: bool | None
) -> None:
    folder = command_folder(str(tmp_path / "sweeps"))
    assert folder.owner is not None
    start_runs(client, folder.owner, folder.uri)
    memory = {"id": folder.owner} | ({} if finished is None else {"finished": finished})
    Folder(folder.uri).write("session.json", json.dumps(memory).encode())
    kinds = [finding.kind for finding in check_folder(folder, CommandRuns(client))]
    assert kinds == ([] if finished else ["unfinished"])
