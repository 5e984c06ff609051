"""Tests how the winner's worst mistakes are collected, with the weights of a real model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.report.winner_mistakes import winner_mistakes
from pipeline.trials.predictions import Predictions
from vit.data.arrays import ImageArrays
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import ModelCard, save_card, save_weights
from vit.files.storage import Folder
from vit.model.attention_rollout import attention_map
from vit.model.config import Pool, ViTConfig
from vit.model.vision_transformer import VisionTransformer

NORMALISATION = Normalisation((0.5,), (0.25,))


def weights_of(config: ViTConfig, folder: Path) -> tuple[Folder, VisionTransformer]:
    torch.manual_seed(0)
    model = VisionTransformer(config).eval()
    kept = Folder(str(folder))
    save_card(kept, ModelCard(config, NORMALISATION, ("a", "b")))
    save_weights(kept, model, 1)
    return kept, model


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_they_are_kept_with_images_answers_and_attention(tmp_path: Path, pool: Pool) -> None:
    config = ViTConfig(8, 4, 1, 2, embed_dim=12, depth=2, num_heads=3, global_pool=pool)
    weights, model = weights_of(config, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    labels = np.array([0, 1] * 10)
    predicted, confidence = 1 - labels, np.linspace(0.5, 0.99, 20)
    predicted[19] = labels[19]
    predictions = Predictions(labels, predicted, confidence, 1 - confidence)
    found = winner_mistakes(weights, ImageArrays(images, labels), predictions)
    surest = list(range(18, 6, -1))  # the last image is classified correctly
    np.testing.assert_array_equal(found.images, images[surest])
    assert found.confidence.tolist() == confidence[surest].tolist()
    assert (found.predicted == 1 - found.labels).all()
    assert bool(found.has_class_token) == (pool == "token")
    expected = attention_map(model, NORMALISATION(torch.from_numpy(images[surest])))
    np.testing.assert_allclose(found.attention, expected.numpy(), rtol=1e-5)


def test_a_model_without_mistakes_has_none(tmp_path: Path) -> None:
    weights, _ = weights_of(ViTConfig(8, 4, 1, 2, embed_dim=12, depth=1, num_heads=3), tmp_path)
    labels = np.array([0, 1])
    test = ImageArrays(np.zeros((2, 8, 8, 1), dtype=np.uint8), labels)
    found = winner_mistakes(weights, test, Predictions(labels, labels, np.ones(2), np.ones(2)))
    assert (len(found), found.attention.shape) == (0, (0, 2, 2))


def test_large_images_are_kept_small(tmp_path: Path) -> None:
    weights, _ = weights_of(ViTConfig(256, 64, 1, 2, embed_dim=12, depth=1, num_heads=3), tmp_path)
    labels = np.array([0])
    test = ImageArrays(np.full((1, 256, 256, 1), 7, dtype=np.uint8), labels)
    found = winner_mistakes(weights, test, Predictions(labels, 1 - labels, np.ones(1), np.zeros(1)))
    assert found.images.shape == (1, 160, 160, 1)
    assert found.images.dtype == np.uint8
    assert set(found.images.ravel().tolist()) == {7}
