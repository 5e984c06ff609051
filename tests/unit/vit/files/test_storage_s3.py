"""Folders in an S3 bucket, used through a real client and a server on this machine."""

import subprocess
import sys
from collections.abc import Iterator
from threading import Event, Thread
from uuid import uuid4

import fsspec
import pytest
import torch
from s3fs import S3FileSystem

from tests.conftest import S3_CREDENTIALS
from tests.deadline import DEADLINE
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import CheckpointError, ModelCard, load_model, load_state, save_card, save_state, save_weights
from vit.files.errors import StorageError
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer

CONFIG = ViTConfig(img_size=8, in_chans=1, num_classes=3, embed_dim=8, num_heads=2, depth=1, global_pool="avg")
CARD = ModelCard(CONFIG, Normalisation((0.25,), (0.5,)), ("cat", "dog", "Übergang"))
WRITE = "import sys; from vit.files.storage import Folder; Folder(sys.argv[1]).write(sys.argv[2], sys.argv[3].encode())"


@pytest.fixture
def folder(s3_bucket: str) -> Folder:
    return Folder(f"{s3_bucket}/{uuid4()}")


@pytest.fixture
def _no_credentials(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in S3_CREDENTIALS:
        monkeypatch.delenv(name)
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


def write_in_another_process(folder: Folder, name: str, content: str) -> None:
    subprocess.run([sys.executable, "-c", WRITE, folder.uri, name, content], check=True, timeout=DEADLINE)


def list_as_any_library_may(folder: Folder) -> None:
    """Lists the folder. The whole process shares one client, which caches the listing."""
    fsspec.core.url_to_fs(folder.uri)[0].ls(folder.uri)


def test_what_is_written_is_read_back(folder: Folder) -> None:
    content = bytes(range(256)) * 100
    assert not folder.exists("a.bin")
    folder.write("a.bin", memoryview(content))
    assert folder.exists("a.bin")
    assert folder.read("a.bin") == content


def test_an_empty_file_is_a_file(folder: Folder) -> None:
    folder.write("empty", b"")
    assert folder.exists("empty")
    assert folder.read("empty") == b""


def test_writing_again_replaces_the_whole(folder: Folder) -> None:
    folder.write("a.bin", b"long content of before")
    folder.write("a.bin", b"short")
    assert folder.read("a.bin") == b"short"


def test_a_folder_in_a_folder(folder: Folder) -> None:
    inner = folder / "run" / "checkpoints"
    inner.write("a.bin", b"1")
    assert Folder(f"{folder.uri}/run/checkpoints/").read("a.bin") == b"1"
    assert not folder.exists("a.bin")


def test_a_missing_file_is_an_error(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError, match=f"^{folder.uri}/nothing: "):
        folder.read("nothing")


def test_a_file_is_removed_and_a_missing_one_is_no_error(folder: Folder) -> None:
    folder.write("a.bin", b"1")
    folder.remove("a.bin")
    folder.remove("a.bin")
    assert not folder.exists("a.bin")


@pytest.mark.parametrize("name", ["plain", "run[1]*"])
def test_a_renamed_file_takes_the_place_of_another(folder: Folder, name: str) -> None:
    inner = folder / name
    inner.write("old", b"content")
    inner.write("new", b"content of before")
    inner.rename("old", "new")
    assert inner.read("new") == b"content"
    assert not inner.exists("old")


def test_renaming_a_missing_file_leaves_the_other(folder: Folder) -> None:
    folder.write("new", b"1")
    with pytest.raises(FileNotFoundError, match=f"^{folder.uri}/old: "):
        folder.rename("old", "new")
    assert folder.read("new") == b"1"


def test_what_another_process_writes_is_seen(folder: Folder) -> None:
    folder.write("a.bin", b"old")
    assert not folder.exists("b.bin")
    list_as_any_library_may(folder)
    write_in_another_process(folder, "a.bin", "newer content")
    write_in_another_process(folder, "b.bin", "more")
    assert folder.read("a.bin") == b"newer content"
    assert folder.exists("b.bin")


def test_what_another_process_writes_can_be_renamed(folder: Folder) -> None:
    folder.write("a.bin", b"old")
    list_as_any_library_may(folder)
    write_in_another_process(folder, "b.bin", "more")
    folder.rename("b.bin", "a.bin")
    assert folder.read("a.bin") == b"more"


def test_a_reader_never_sees_parts_of_two_contents(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    client = fsspec.core.url_to_fs(folder.uri)[0]  # fsspec returns the same client everywhere in a process
    monkeypatch.setattr(client, "default_block_size", 1000)  # above this, s3fs fetches in parts
    contents = [bytes([value]) * 50_000 for value in (1, 2)]
    folder.write("a.bin", contents[0])
    done = Event()

    def keep_writing() -> None:
        while not done.is_set():
            for content in contents:
                folder.write("a.bin", content)

    writer = Thread(target=keep_writing)
    writer.start()
    try:
        assert all(folder.read("a.bin") in contents for _ in range(20))
    finally:
        done.set()
        writer.join()


def test_a_state_comes_back_as_it_was(folder: Folder) -> None:
    broken: list[CheckpointError] = []
    assert load_state(folder, broken.append) is None
    save_state(folder, {"epochs_done": 3, "weight": torch.arange(4.0)})
    save_state(folder, {"epochs_done": 4, "weight": torch.arange(5.0)})
    state = load_state(folder, broken.append)
    assert state is not None
    assert broken == []
    assert state["epochs_done"] == 4
    assert torch.equal(state["weight"], torch.arange(5.0))


def test_a_model_comes_back_ready_to_use(folder: Folder) -> None:
    model = VisionTransformer(CONFIG).eval()
    save_card(folder, CARD)
    save_weights(folder, model, epoch=1)
    loaded, card = load_model(folder)
    images = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
    assert card == CARD


def test_a_missing_bucket_holds_nothing_and_takes_nothing(s3_bucket: str) -> None:
    folder = Folder("s3://missing/run")
    assert not folder.exists("a.bin")
    for action in (lambda: folder.read("a.bin"), lambda: folder.write("a.bin", b"1")):
        with pytest.raises(FileNotFoundError, match=r"^s3://missing/run/a\.bin: The specified bucket does not exist$"):
            action()


@pytest.mark.usefixtures("_no_credentials")
def test_missing_credentials_are_an_error_that_names_the_file() -> None:
    folder = Folder("s3://sweeps/run")
    for action in (
        lambda: folder.exists("a.bin"),
        lambda: folder.read("a.bin"),
        lambda: folder.write("a.bin", b"1"),
        lambda: folder.rename("a.bin", "b.bin"),
        lambda: folder.remove("a.bin"),
    ):
        with pytest.raises(StorageError, match=r"^s3://sweeps/run/a\.bin: Unable to locate credentials$"):
            action()
