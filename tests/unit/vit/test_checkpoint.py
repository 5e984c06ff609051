"""Checkpoints: what is saved is loaded, what is broken is named, and no file's code ever runs."""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from vit.augment import Normalisation
from vit.checkpoint import CheckpointError, ModelCard, load_model, load_state, save_card, save_state, save_weights
from vit.model import VisionTransformer, ViTConfig
from vit.storage import CONFIG_FILE, STATE_FILE, WEIGHTS_FILE, Folder

CONFIG = ViTConfig(img_size=8, in_chans=1, num_classes=3, embed_dim=8, num_heads=2, depth=1, global_pool="avg")
CARD = ModelCard(CONFIG, Normalisation((0.25,), (0.5,)), ("cat", "dog", "Übergang"))
STATE = {"epochs_done": 3, "model": {"weight": torch.arange(4.0)}, "averaged": None}


class TouchesAFile:
    """Pickled, it creates a file when it is loaded."""

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


def test_state_comes_back_as_it_was(saved: Folder) -> None:
    state = load_state(saved)
    assert state is not None
    assert torch.equal(state.pop("model")["weight"], torch.arange(4.0))
    assert state == {"epochs_done": 3, "averaged": None}


def test_no_state_is_none_not_an_error(tmp_path: Path) -> None:
    assert load_state(Folder(str(tmp_path / "new"))) is None


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


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_state_is_refused_by_its_path(saved: Folder, keep: int) -> None:
    saved.write(STATE_FILE, saved.read(STATE_FILE)[:keep])
    with pytest.raises(CheckpointError, match=f"^{re.escape(saved.uri)}/{STATE_FILE} cannot be read"):
        load_state(saved)


@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("keep", [0, 20, -1])
def test_a_truncated_model_is_refused_by_its_path(saved: Folder, file: str, keep: int) -> None:
    saved.write(file, saved.read(file)[:keep])
    with pytest.raises(CheckpointError, match=re.escape(saved.uri)):
        load_model(saved)


@pytest.mark.parametrize("garbage", [b"garbage", bytes(1000), b"[]", b'{"model": {"width": 3}}'])
@pytest.mark.parametrize("file", [STATE_FILE, CONFIG_FILE, WEIGHTS_FILE])
def test_garbage_is_refused_by_its_path(saved: Folder, file: str, garbage: bytes) -> None:
    saved.write(file, garbage)
    with pytest.raises(CheckpointError, match=re.escape(saved.uri)):
        load_state(saved) if file == STATE_FILE else load_model(saved)


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
    with pytest.raises(CheckpointError):
        load_state(saved) if file == STATE_FILE else load_model(saved)
    assert not trace.exists()
    buffer.seek(0)
    torch.load(buffer, weights_only=False) if form == "torch" else pickle.loads(content)
    assert trace.exists()  # the bait itself works
