"""Tests that the folders of commands are found in a storage, and what happens if the storage cannot be read."""

import uuid
from pathlib import Path

import fsspec
import pytest

from pipeline.diagnosis.command_folders import command_folders
from pipeline.errors import PipelineError, UsageError
from tests.unit.pipeline.diagnosis.command_store import command_folder
from vit.files.storage import Folder


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
    for storage in (missing, f"memory://{uuid.uuid4().hex}"):
        with pytest.raises(UsageError, match=f"--storage is {storage}, but there is no such folder"):
            command_folders(storage, must_exist=True)
    with pytest.raises(UsageError, match="--storage leads to nosuch://a, which cannot be read"):
        command_folders("nosuch://a", must_exist=True)


def test_a_storage_that_does_not_answer_is_no_bad_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "ls", refuse)
    with pytest.raises(PipelineError, match="which cannot be read: no credentials") as refused:
        command_folders("memory://a", must_exist=False)
    assert refused.value.status == 1
