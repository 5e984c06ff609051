"""Files are written whole or not at all, in folders given by path or by URI."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from vit.files.storage import Folder


@pytest.fixture(params=["path", "file://", "memory://"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    uris = {"path": str(tmp_path), "file://": f"file://{tmp_path}", "memory://": f"memory://{uuid4()}"}
    return Folder(uris[request.param])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Makes writes beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read_back(folder: Folder) -> None:
    content = bytes(range(256)) * 100
    assert not folder.exists("a.bin")
    folder.write("a.bin", content)
    assert folder.exists("a.bin")
    assert folder.read("a.bin") == content


def test_writing_again_replaces_the_whole(folder: Folder) -> None:
    folder.write("a.bin", b"long content of before")
    folder.write("a.bin", b"short")
    assert folder.read("a.bin") == b"short"


def test_a_folder_in_a_folder_is_made_on_the_first_write(folder: Folder) -> None:
    inner = folder / "run" / "checkpoints"
    inner.write("a.bin", b"1")
    assert Folder(f"{folder.uri}/run/checkpoints/").read("a.bin") == b"1"
    assert not folder.exists("a.bin")


def test_a_missing_file_is_an_error(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("nothing")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a.bin", b"old")
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        folder.write("a.bin", bytes(5000))
    assert folder.read("a.bin") == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_write_onto_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OSError, match="directory"):
        Folder(str(tmp_path)).write("a.bin", b"new")
    assert os.listdir(tmp_path) == ["a.bin"]


def test_others_may_read_the_file_as_they_may_any_file(tmp_path: Path) -> None:
    Folder(str(tmp_path)).write("ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    ours, plain = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain"))
    assert ours == plain


def test_a_file_is_removed_and_a_missing_one_is_no_error(folder: Folder) -> None:
    folder.write("a.bin", b"1")
    folder.remove("a.bin")
    folder.remove("a.bin")
    assert not folder.exists("a.bin")


def test_a_renamed_file_takes_the_place_of_another(folder: Folder) -> None:
    folder.write("old", b"content")
    folder.write("new", b"content of before")
    folder.rename("old", "new")
    assert folder.read("new") == b"content"
    assert not folder.exists("old")


def test_renaming_a_missing_file_leaves_the_other(folder: Folder) -> None:
    folder.write("new", b"1")
    with pytest.raises(FileNotFoundError):
        folder.rename("old", "new")
    assert folder.read("new") == b"1"


def test_what_is_to_outlast_a_power_cut_is_synced_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, bool]] = []

    def sync(handle: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), (tmp_path / "state").exists()))

    monkeypatch.setattr(os, "fsync", sync)
    Folder(str(tmp_path)).write("history", b"may be lost")
    assert synced == []
    Folder(str(tmp_path)).write("state", b"may not", durable=True)
    assert synced == [(False, False), (True, True)]  # the file under a temporary name, then the folder with its name
