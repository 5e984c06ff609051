"""Registers models of the digits that give the answers a test wants, as real pt2 files in a real store."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.models import Model
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.registry import versions as registry
from pipeline.registry.served_model import save_served_model
from pipeline.tracking.server import open_client
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import ModelCard
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer

IMAGES = 359
"""The number of test images of the digits."""
_numbers = itertools.count()


@cache
def digits() -> Dataset:
    return load_dataset(DataConfig("digits"))


class Answering(nn.Module):
    """Recognises the test image that it is shown, and gives the answer that was chosen for it."""

    def __init__(self, images: NDArray[np.uint8], answers: NDArray[np.int64], confidence: float) -> None:
        super().__init__()
        known = torch.tensor(images).flatten(1).float() / 255
        self.known = nn.Parameter(known, requires_grad=False)
        probabilities = torch.full((len(images), 10), (1 - confidence) / 9)
        probabilities[torch.arange(len(images)), torch.tensor(answers)] = confidence
        self.logits = nn.Parameter(probabilities.log(), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        nearness = 2 * images.flatten(1) @ self.known.T - self.known.square().sum(dim=1)
        return torch.softmax(1e4 * nearness, dim=1) @ self.logits


def save_model(folder: Path, wrong: Sequence[int], confidence: float) -> Path:
    """Exports a model of the digits that is wrong about these test images, and right about the others."""
    test = digits().test
    answers = test.labels.copy()
    answers[list(wrong)] = (answers[list(wrong)] + 1) % 10
    model = Answering(test.images, answers, confidence).eval()
    card = ModelCard(ViTConfig(img_size=8, in_chans=1), Normalisation((0.0,), (1.0,)), digits().class_names)
    save_served_model(folder, cast(VisionTransformer, model), card, test.images[:2], Model())
    return folder


_MODELS = {"good": ((), 0.99), "fair": (range(20), 0.94), "nearly fair": (range(1, 20), 0.94)}
"""The images that each model is wrong about, and its confidence, which is close to its accuracy: it is calibrated."""


def save_named(folder: Path, name: str) -> Path:
    """Exports the model `good`, `fair` or `nearly fair`.

    `good` is right about all test images, `fair` about all but 20, and `nearly fair` about one of these 20 as well.
    """
    return save_model(folder / name, *_MODELS[name])


@dataclass(frozen=True)
class Versions:
    """A registered model, of which each test has its own."""

    client: MlflowClient
    name: str

    def add(self, files: Path, correct: int = IMAGES, tags: Mapping[str, str] | None = None) -> int:
        """Registers these files as the new challenger; its tags say that it has `correct` test images right."""
        (experiment,) = [found for found in self.client.search_experiments() if found.name == self.name]
        model_id = str(self.client.create_logged_model(experiment.experiment_id, "model").model_id)
        self.client.log_model_artifacts(model_id, str(files))
        self.client.finalize_logged_model(model_id, "READY")
        measured = registry.TestFigures(digits().test_digest, correct, IMAGES, val_accuracy=0.5)
        source = {"pipeline.data_source": json.dumps(asdict(DataConfig("digits"))), "pipeline.dataset": "digits"}
        return self.add_bare({**measured.to_tags(), **source, **(tags or {})}, f"models:/{model_id}", model_id)

    def add_bare(self, tags: dict[str, str], source: str = "file:///nowhere", model_id: str | None = None) -> int:
        version = self.client.create_model_version(self.name, source=source, tags=tags, model_id=model_id)
        self.client.set_registered_model_alias(self.name, registry.CHALLENGER, version.version)
        return int(version.version)

    def make_champion(self, version: int) -> None:
        """Moves the alias `champion` by hand, without the gate and the ledger."""
        self.client.set_registered_model_alias(self.name, registry.CHAMPION, str(version))
        self.client.delete_registered_model_alias(self.name, registry.CHALLENGER)

    def make_challenger(self, version: int) -> None:
        self.client.set_registered_model_alias(self.name, registry.CHALLENGER, str(version))

    def files_of(self, version: int) -> Path:
        source = str(self.client.get_model_version(self.name, str(version)).source)
        model = self.client.get_logged_model(source.removeprefix("models:/"))
        return Path(model.artifact_location.removeprefix("file://"))

    def aliases(self) -> dict[str, int]:
        aliases = self.client.get_registered_model(self.name).aliases
        return {alias: int(version) for alias, version in aliases.items()}


def new_model(uri: str) -> Versions:
    """Creates a registered model without versions in a tracking store; a SQLite store has its artifacts beside it."""
    client, name = open_client(uri), f"vit-{next(_numbers)}"
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "artifacts" / name
    client.create_experiment(name, artifact_location=artifacts.as_uri() if uri.startswith("sqlite") else None)
    client.create_registered_model(name)
    return Versions(client, name)
