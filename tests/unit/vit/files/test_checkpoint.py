"""Checkpoints load as they were saved, a broken one is refused by its path, and code in a file never runs."""

import errno
import io
import pickle
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from safetensors import safe_open

from vit.data.normalisation import Normalisation
from vit.files.checkpoint import (
    CheckpointError,
    ModelCard,
    load_model,
    load_state,
    remove_state,
    save_card,
    save_state,
    save_weights,
)
from vit.files.storage import CONFIG_FILE, PREVIOUS_STATE_FILE, STATE_FILE, WEIGHTS_FILE, Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer

CONFIG = ViTConfig(img_size=8, in_chans=1, num_classes=3, embed_dim=8, num_heads=2, depth=1, global_pool="avg")
CARD = ModelCard(CONFIG, Normalisation((0.25,), (0.5,)), ("cat", "dog", "Übergang"))
STATE = {"epochs_done": 3, "model": {"weight": torch.arange(4.0)}, "averaged": None}


class TouchesAFile:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def saved(tmp_path: Path) -> Folder:
    """A folder with a state, a card and weights."""
    folder = Folder(str(tmp_path / "run"))
    torch.manual_seed(0)
    save_state(folder, STATE)
    save_card(folder, CARD)
    save_weights(folder, VisionTransformer(CONFIG), epoch=12)
    return folder


def read_state(folder: Folder) -> tuple[dict[str, Any] | None, list[str]]:
    """The state that was loaded, and the errors of the states that were refused."""
    refused: list[CheckpointError] = []
    state = load_state(folder, refused.append)
    return state, [str(error) for error in refused]


def epochs_of(state: dict[str, Any] | None) -> int | None:
    return None if state is None else state["epochs_done"]


def refuse_model(folder: Folder) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_model(folder)
    return str(refused.value)


def test_state_comes_back_as_it_was(saved: Folder) -> None:
    state, refused = read_state(saved)
    assert state is not None
    assert torch.equal(state.pop("model")["weight"], torch.arange(4.0))
    assert (state, refused) == ({"epochs_done": 3, "averaged": None}, [])


def test_no_state_is_none_not_an_error(tmp_path: Path) -> None:
    assert read_state(Folder(str(tmp_path / "new"))) == (None, [])


@pytest.mark.parametrize("uri", ["{tmp}", "memory://test_checkpoint"])
def test_model_comes_back_ready_to_use(uri: str, tmp_path: Path) -> None:
    folder = Folder(uri.format(tmp=tmp_path))
    model = VisionTransformer(CONFIG).eval()
    save_card(folder, CARD)
    save_weights(folder, model, epoch=1)
    loaded, card = load_model(folder)
    images = torch.randn(2, 1, 8, 8)
    assert card == CARD
    assert not loaded.training
    assert torch.equal(loaded(images), model(images))


def test_weights_tell_their_epoch(saved: Folder) -> None:
    with safe_open(saved.path(WEIGHTS_FILE), "pt") as file:
        assert file.metadata() == {"epoch": "12"}


def cut(folder: Folder, name: str, keep: float = 0.5) -> None:
    """Cuts a file down to a share of it (a float) or to a number of bytes; -1 cuts off only the last byte."""
    content = folder.read(name)
    folder.write(name, content[: int(len(content) * keep) if isinstance(keep, float) else keep])


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
@pytest.mark.parametrize("where", ["path", "memory"])
def test_a_truncated_state_is_refused_by_its_path_and_the_one_before_is_used(
    tmp_path: Path, where: str, keep: float
) -> None:
    folder = Folder(f"{tmp_path}/run" if where == "path" else f"memory://{uuid4()}/run")
    for epoch in (1, 2, 3):
        save_state(folder, {**STATE, "epochs_done": epoch})
    cut(folder, STATE_FILE, keep)
    state, [refused] = read_state(folder)
    assert epochs_of(state) == 2
    assert refused.startswith(f"{folder.uri}/{STATE_FILE} cannot be read: ")
    save_state(folder, {**STATE, "epochs_done": 3})
    assert epochs_of(read_state(folder)[0]) == 3


def test_two_truncated_states_are_both_refused(saved: Folder) -> None:
    save_state(saved, STATE)
    cut(saved, STATE_FILE)
    cut(saved, PREVIOUS_STATE_FILE)
    state, refused = read_state(saved)
    assert state is None
    names = (STATE_FILE, PREVIOUS_STATE_FILE)
    assert [line.partition(" cannot be read: ")[0] for line in refused] == [f"{saved.uri}/{name}" for name in names]


def test_the_state_before_stands_while_the_new_one_is_written(saved: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Folder, name: str, content: bytes, durable: bool = False) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", full)
        with pytest.raises(OSError, match="No space left"):
            save_state(saved, {**STATE, "epochs_done": 4})
    state, refused = read_state(saved)
    assert (epochs_of(state), refused) == (3, [])


def test_a_folder_that_does_not_answer_is_not_taken_for_a_broken_state(
    saved: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(saved, STATE)

    def silent(folder: Folder, name: str) -> bytes:
        raise PermissionError(f"{name}: not now")

    monkeypatch.setattr(Folder, "read", silent)
    refused: list[CheckpointError] = []
    with pytest.raises(PermissionError, match=f"^{STATE_FILE}: not now"):
        load_state(saved, refused.append)
    assert refused == []


def test_states_are_removed_and_the_rest_stays(saved: Folder, tmp_path: Path) -> None:
    save_state(saved, STATE)
    for _ in range(2):  # the second time there is none, which is no error
        remove_state(saved)
        assert read_state(saved) == (None, [])
        assert {path.name for path in (tmp_path / "run").iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}
    load_model(saved)


@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("keep", [0, 20, -1])
def test_a_truncated_model_is_refused_by_its_path(saved: Folder, file: str, keep: int) -> None:
    cut(saved, file, keep)
    assert saved.uri in refuse_model(saved)


@pytest.mark.parametrize("garbage", [b"garbage", bytes(1000), b"[]", b'{"model": {"width": 3}}'])
@pytest.mark.parametrize("file", [STATE_FILE, CONFIG_FILE, WEIGHTS_FILE])
def test_garbage_is_refused_by_its_path(saved: Folder, file: str, garbage: bytes) -> None:
    saved.write(file, garbage)
    [refused] = read_state(saved)[1] if file == STATE_FILE else [refuse_model(saved)]
    assert saved.uri in refused


def test_a_missing_model_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path} does not hold a model")):
        load_model(Folder(str(tmp_path)))


def test_weights_of_another_shape_are_refused(saved: Folder) -> None:
    save_card(saved, ModelCard(ViTConfig(), CARD.normalisation, CARD.class_names))
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_model(saved)


@pytest.mark.parametrize("file", [STATE_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_code_in_a_file_is_refused_and_does_not_run(saved: Folder, tmp_path: Path, form: str, file: str) -> None:
    trace = tmp_path / "the code ran"
    buffer = io.BytesIO()
    torch.save(TouchesAFile(trace), buffer)
    content = buffer.getvalue() if form == "torch" else pickle.dumps(TouchesAFile(trace), protocol=2)
    saved.write(file, content)
    assert len(read_state(saved)[1]) == 1 if file == STATE_FILE else refuse_model(saved)
    assert not trace.exists()
    buffer.seek(0)
    torch.load(buffer, weights_only=False) if form == "torch" else pickle.loads(content)
    assert trace.exists()  # loaded without protection, the code does run
