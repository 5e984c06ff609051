"""Saves and loads checkpoints without ever running code from a file (safetensors; `weights_only=True`)."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from vit.data.normalisation import Normalisation
from vit.files.storage import CONFIG_FILE, PREVIOUS_STATE_FILE, STATE_FILE, WEIGHTS_FILE, Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read; the message names its path."""


@dataclass(frozen=True)
class ModelCard:
    """What is needed to use the weights, apart from them: the content of `config.json`."""

    model: ViTConfig
    normalisation: Normalisation
    class_names: tuple[str, ...]


def save_state(folder: Folder, state: dict[str, Any]) -> None:
    """Writes the whole training state; the previous one is kept beside it, in case this one turns out to be broken."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    if folder.exists(STATE_FILE):
        folder.rename(STATE_FILE, PREVIOUS_STATE_FILE)
    folder.write(STATE_FILE, buffer.getbuffer(), durable=True)


def load_state(folder: Folder, refused: Callable[[CheckpointError], object]) -> dict[str, Any] | None:
    """The last training state that can be read, or None. Calls `refused` with the error of each state that is broken.

    Raises:
        OSError: the folder cannot be reached.
    """
    for name in (STATE_FILE, PREVIOUS_STATE_FILE):
        if not folder.exists(name):
            continue
        content = folder.read(name)
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return state
        except Exception as error:  # of zipfile, pickle or torch, depending on what is broken
            refused(CheckpointError(f"{folder.uri}/{name} cannot be read: {error}"))
    return None


def remove_state(folder: Folder) -> None:
    """Removes the states of a training that is over, of which only the best weights are kept."""
    folder.remove(STATE_FILE)
    folder.remove(PREVIOUS_STATE_FILE)


def save_card(folder: Folder, card: ModelCard) -> None:
    folder.write(CONFIG_FILE, json.dumps(asdict(card), indent=2).encode(), durable=True)


def save_weights(folder: Folder, model: VisionTransformer, epoch: int) -> None:
    """Writes the weights with the epoch that they come from, as one file."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # Durable, since a later training state no longer holds these weights.
    folder.write(WEIGHTS_FILE, save_safetensors(tensors, metadata={"epoch": str(epoch)}), durable=True)


def load_model(folder: Folder) -> tuple[VisionTransformer, ModelCard]:
    """The saved model, on the CPU and in evaluation mode, and its card.

    Raises:
        CheckpointError: a file is missing or broken.
    """
    try:
        fields = json.loads(folder.read(CONFIG_FILE))
        card = ModelCard(
            model=ViTConfig(**fields["model"]),
            normalisation=Normalisation(**{key: tuple(value) for key, value in fields["normalisation"].items()}),
            class_names=tuple(fields["class_names"]),
        )
        model = VisionTransformer(card.model)
        model.load_state_dict(load_safetensors(folder.read(WEIGHTS_FILE)))
    except Exception as error:
        raise CheckpointError(f"{folder.uri} does not hold a model that can be read: {error}") from error
    return model.eval(), card
