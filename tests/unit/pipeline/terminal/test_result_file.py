"""Tests that a result file that cannot be written is refused before anything is computed."""

import os
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.terminal.result_file import refuse_unwritable_file


def test_a_result_that_could_not_be_written_hours_later_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "kept.json").write_text("{}")
    for file in (None, "new.json", "kept.json", "results/new.json", "/dev/stdout"):
        refuse_unwritable_file("--json", file)
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "kept.json")  # the tests may run as root
    for file, rule in {
        "none/new.json": "but its folder does not exist",
        "results": "but must be a file: that is a folder",
        "kept.json": "which cannot be written: permission denied",
    }.items():
        with pytest.raises(UsageError) as refused:
            refuse_unwritable_file("--json", file)
        assert str(refused.value) == f"--json is {file}, {rule}"
    with pytest.raises(UsageError, match=f"--json is {tmp_path}, but must be a file: that is a folder"):
        refuse_unwritable_file("--json", "")
    assert (tmp_path / "kept.json").read_text() == "{}"
