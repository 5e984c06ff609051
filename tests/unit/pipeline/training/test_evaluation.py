"""Tests of what an evaluation on the test images records in a real store."""

from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient

from pipeline.tracking.artifacts import ArtifactMaker
from pipeline.tracking.tracker import Tracker
from pipeline.training.evaluation import TestResult, _evaluate, record_test
from pipeline.trials.predictions import Predictions
from vit.data.arrays import ImageArrays
from vit.data.dataset import Dataset
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import ModelCard, save_card, save_weights
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.metrics import Counts

IMAGES = ImageArrays(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 0, 1, 1]))
DATASET = Dataset("x", IMAGES, IMAGES, IMAGES, ("cat", "dog"), "", "", True, "")


def evaluate(uri: str, run_id: str, *predicted: int, tta_correct: int | None = None) -> None:
    """Records an evaluation on the test images, as one command with its own tracker does."""
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    for label, guess in zip(IMAGES.labels.tolist(), predicted, strict=True):
        confusion[label, guess] += 1
    probabilities = np.array([[0.75, 0.25] if guess == 0 else [0.25, 0.75] for guess in predicted])
    predictions = Predictions.of(IMAGES.labels, probabilities)
    result = TestResult(Counts(float(sum(predicted)), confusion), predictions, tta_correct)
    with closing(Tracker(uri, "vit-x")) as tracker, closing(ArtifactMaker()) as artifacts:
        record_test(tracker, artifacts, DATASET, run_id, result, "trial 1")
        artifacts.finish()
        tracker.flush()


def test_a_later_evaluation_corrects_an_earlier_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with closing(Tracker(uri, "vit-x", "owner")) as tracker:
        tracker.start_run("trial/1", "trial-01")
        tracker.end_run("trial/1", "FINISHED")
        run_id = tracker.run_id("trial/1")
    client = MlflowClient(uri)
    evaluate(uri, run_id, 1, 1, 1, 1)
    evaluate(uri, run_id, 0, 0, 0, 1)
    assert client.get_run(run_id).data.metrics == {
        "test/accuracy": 0.75, "test/loss": 0.25, "test/class_accuracy/cat": 1.0, "test/class_accuracy/dog": 0.5,
    }  # fmt: skip
    table = Path(client.download_artifacts(run_id, "evaluation/test_predictions.csv", str(tmp_path))).read_text()
    assert table.split()[1:] == ["0,0,0.75,0.75", "0,0,0.75,0.75", "1,0,0.75,0.25", "1,1,0.75,0.75"]
    assert client.get_run(run_id).info.status == "FINISHED"
    evaluate(uri, run_id, 0, 0, 0, 1, tta_correct=4)
    metrics = client.get_run(run_id).data.metrics
    assert (metrics["test/accuracy"], metrics["test/accuracy_tta_flip"]) == (0.75, 1.0)


def test_the_mirror_images_count_beside_the_plain_ones(tmp_path: Path) -> None:
    """The expected count is computed here from the logits of both views, which `predict` combines."""
    torch.manual_seed(0)
    config = ViTConfig(img_size=8, in_chans=1, num_classes=2, embed_dim=8, depth=1, num_heads=2)
    model, folder, plain = VisionTransformer(config), Folder(str(tmp_path)), Normalisation((0.5,), (0.25,))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    with torch.no_grad():  # makes the model predict cats for half of the images, dogs for the other half
        logits = model.eval()(plain(torch.from_numpy(images)))
        model.head.bias[0] -= (logits[:, 0] - logits[:, 1]).median()
    save_card(folder, ModelCard(config, plain, ("cat", "dog")))
    save_weights(folder, model, 1)
    test = ImageArrays(images, np.random.default_rng(1).integers(0, 2, 200))
    without, with_mirror = (_evaluate(folder.uri, test, False, mirror) for mirror in (False, True))
    assert without.tta_correct is None
    assert with_mirror.counts.correct == without.counts.correct == without.predictions.correct.sum()
    views = [plain(torch.from_numpy(view.copy())) for view in (images, images[:, :, ::-1])]
    with torch.inference_mode():
        both = (model(views[0]) + model(views[1])).argmax(dim=1).numpy()
    assert with_mirror.tta_correct == int((both == test.labels).sum())
    assert both.tolist() != without.predictions.predicted.tolist()
