"""Tests which files in a command's folder are found to be leftovers, which nothing needs any more."""

import contextlib
import uuid
from pathlib import Path

import pytest

from pipeline.diagnosis.leftovers import TEMPORARY, find_leftovers
from vit.files.storage import Folder


def test_what_a_death_leaves_of_a_file_is_known_by_its_name(tmp_path: Path) -> None:
    class Died(BaseException):
        """Stands for the death of a process in the middle of writing a file."""

    def die(*_: object) -> None:
        left.extend(path.name for path in tmp_path.iterdir())
        raise Died

    left: list[str] = []
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Died):
        patch.setattr(Path, "replace", die)
        Folder(str(tmp_path)).write("latest.pt", b"x")
    assert [bool(TEMPORARY.fullmatch(name)) for name in left] == [True]


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
        "trials/00000/previous.pt": 500, "ray-train": 0, "ray-train/0a/instruction.json": 6000,
        "finalists/0/00000/latest.pt": 10, "audit/00000/previous.pt": 11,
        f"trials/00001/{temporary}": 8, f".session.json.{uuid.uuid4().hex}": 9,
    }  # fmt: skip
    over = {"trials/00000", "finalists/0/00000", "audit/00000"}
    found = find_leftovers({**dict.fromkeys(needed, 100), **leftovers}, over.__contains__)
    assert set(found) == {path for path in leftovers if "tune/" not in path and "ray-train/" not in path}
    assert (found["tune"], found["ray-train"], sum(found.values())) == (50, 6000, sum(leftovers.values()))
