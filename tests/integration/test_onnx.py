"""Tests `--export onnx`: a version's ONNX file gives the weights' probabilities in onnxruntime, or is refused."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest
import torch
from mlflow import MlflowClient

from pipeline.errors import PipelineError
from pipeline.registry.onnx_model import TOLERANCE, check_onnx
from pipeline.registry.registration import register
from pipeline.tracking.server import open_client
from tests.unit.pipeline.registry.passports import passport
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import ModelCard, save_card, save_weights
from vit.files.serving import Classifier
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer

pytestmark = pytest.mark.slow

NAME = "vit-x"
SHAPE = (8, 8, 3)
NORMALISATION = Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


@dataclass(frozen=True)
class Exported:
    client: MlflowClient
    classifier: Classifier
    """The model from which the versions were made."""
    versions: list[int]
    """The versions returned for registering without ONNX, with it, with it again, and without it again."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("onnx")
    client = open_client(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment(NAME, artifact_location=(folder / "artifacts").as_uri())
    known, weights = passport(NAME, client.create_run(experiment).info.run_id), Folder(str(folder / "weights"))
    model = _model(seed=0)
    save_card(weights, ModelCard(model.config, NORMALISATION, ("ant", "bee", "cat", "dog")))
    save_weights(weights, model, epoch=1)
    images = np.zeros((2, *SHAPE), np.uint8)
    versions = [register(client, known, weights, images, with_onnx) for with_onnx in (False, True, True, False)]
    return Exported(client, Classifier(model, NORMALISATION).eval(), versions)


def _model(seed: int) -> VisionTransformer:
    torch.manual_seed(seed)
    config = ViTConfig(img_size=8, num_classes=4, embed_dim=16, depth=1, num_heads=2, stem="conv", global_pool="avg")
    model = VisionTransformer(config)
    torch.nn.init.normal_(model.head.weight, std=2.0)
    return model


def test_a_version_without_it_does_not_count_and_one_with_it_counts_for_both(exported: Exported) -> None:
    assert exported.versions == [1, 2, 2, 1]
    tags = [exported.client.get_model_version(NAME, str(number)).tags for number in (1, 2)]
    assert [each.get("pipeline.export") for each in tags] == [None, "onnx"]


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_file_beside_the_pt2_gives_the_weights_probabilities(exported: Exported, batch: int) -> None:
    data = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/2"), "data")
    assert {path.name for path in data.iterdir()} >= {"model.pt2", "model.onnx", "labels.json"}
    session = onnxruntime.InferenceSession(str(data / "model.onnx"))
    images = np.random.default_rng(batch).integers(0, 256, (batch, *SHAPE), dtype=np.uint8)
    (answer,) = session.run(None, {"images": images})
    with torch.inference_mode():
        expected = exported.classifier(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(answer, expected, atol=TOLERANCE)
    assert answer.std() > 0.1  # the model tells these images and classes apart


def test_a_file_that_answers_otherwise_is_refused(exported: Exported, tmp_path: Path) -> None:
    data = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/2"), "data")
    path = shutil.copy(data / "model.onnx", tmp_path)
    check_onnx(Path(path), exported.classifier, SHAPE)
    with pytest.raises(PipelineError, match=r"given 1 images, the ONNX file is off by .* must be within 0\.0001"):
        check_onnx(Path(path), Classifier(_model(seed=1), NORMALISATION).eval(), SHAPE)
