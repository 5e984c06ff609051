"""Tests that `pipeline.predict` predicts for files what the evaluation predicts for the same images as arrays."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.registry.registration import register
from pipeline.tracking.server import open_client
from pipeline.trials.predictions import Predictions
from tests.integration.commands import client_of, run_here
from tests.integration.readme import commands_of
from tests.tracking_uri import tracking_uri_undone
from tests.unit.pipeline.registry.passports import passport
from tests.unit.vit.data.sample_data import encoded, save, write_shard
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.files.checkpoint import ModelCard, save_card, save_weights
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.evaluation import predict
from vit.training.runtime import Runtime, Split

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

NAME = "vit-digits"
MODEL = f"models:/{NAME}@champion"


@dataclass(frozen=True)
class Trained:
    folder: Path
    """The folder of the store, in which a model of the digits is the champion."""
    data: Dataset
    predicted: list[str]
    """The class that the evaluation predicts for each test image."""
    confidence: list[float]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder, data = tmp_path_factory.mktemp("predict"), load_dataset(DataConfig("digits"))
    client = open_client(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment(NAME, artifact_location=(folder / "artifacts").as_uri())
    weights = Folder(str(folder / "weights"))
    model, normalisation = _model(data), measure_normalisation(data.train.images)
    save_card(weights, ModelCard(model.config, normalisation, data.class_names))
    save_weights(weights, model, epoch=1)
    run_id = client.create_run(experiment).info.run_id
    version = register(client, passport(NAME, run_id), weights, data.validation.images[:2])
    client.set_registered_model_alias(NAME, "champion", str(version))
    device = torch.device("cpu")
    logits = predict(model, Split.of(data.test, device).images, normalisation, Runtime(device))
    found = Predictions.of(data.test.labels, logits.softmax(dim=1).numpy())
    predicted = [data.class_names[index] for index in found.predicted]
    return Trained(folder, data, predicted, found.confidence.tolist())


def _model(data: Dataset) -> VisionTransformer:
    """Returns a model with random weights, which predicts many different classes."""
    torch.manual_seed(0)
    config = ViTConfig(img_size=data.img_size, in_chans=data.in_chans, num_classes=data.num_classes, depth=1)
    model = VisionTransformer(config)
    torch.nn.init.normal_(model.head.weight, std=2.0)
    return model.eval()


def test_files_get_the_classes_that_the_evaluation_gave_the_same_images(trained: Trained) -> None:
    for index, image in enumerate(trained.data.test.images):
        save(trained.folder / "photos" / f"{index:04d}.png", image[..., 0])
    ((module, *flags),) = commands_of("pipeline.predict")
    done = run_here(module, trained.folder, *flags, "--json", "p.json")
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(trained.predicted)
    assert done.stdout.splitlines()[-1] == f"{count} images classified, 0 could not be read: predictions.parquet"
    table = pq.read_table(trained.folder / "predictions.parquet").to_pydict()
    assert [Path(path).stem for path in table["path"]] == [f"{index:04d}" for index in range(len(trained.predicted))]
    assert table["class"] == trained.predicted
    assert len(set(trained.predicted)) > 3
    assert table["probability"] == pytest.approx(trained.confidence, abs=1e-5)
    assert [top[0] for top in table["top_classes"]] == trained.predicted
    assert all(len(top) == 3 and top == sorted(top, reverse=True) for top in table["top_probabilities"])
    assert set(table["row"] + table["error"]) == {None}
    result = json.loads((trained.folder / "p.json").read_text())
    version = client_of(trained.folder).get_model_version_by_alias(NAME, "champion")
    assert (result["images"], result["broken"]) == (len(trained.predicted), 0)
    assert (f"models:/{result['model_id']}", result["run_id"]) == (version.source, version.run_id)


def test_rows_that_cannot_be_read_are_told_of_and_the_rest_goes_on(trained: Trained) -> None:
    images = [encoded(image[..., 0]) for image in trained.data.test.images[:4]]
    write_shard(trained.folder / "rows.parquet", [images[0], b"broken", *images[2:]], [0] * 4)
    done = run_here("pipeline.predict", trained.folder, "--model", MODEL, "rows.parquet", "--out", "rows.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    reason = "is not an image that can be read: unknown format"
    assert done.stdout.splitlines()[-2:] == [
        f"warning: {trained.folder}/rows.parquet row 1 {reason}",
        "3 images classified, 1 could not be read: rows.csv",
    ]
    with (trained.folder / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["class"], row["error"]) for row in rows] == [
        ("0", trained.predicted[0], ""),
        ("1", "", reason),
        ("2", trained.predicted[2], ""),
        ("3", trained.predicted[3], ""),
    ]


def test_where_nothing_can_be_read_the_command_fails_and_the_file_says_why(trained: Trained) -> None:
    (trained.folder / "broken.png").write_bytes(b"broken")
    done = run_here("pipeline.predict", trained.folder, "--model", MODEL, "broken.png", "--out", "none.csv")
    assert (done.returncode, done.stderr) == (1, "error: none of the 1 images could be read: none.csv says why\n")
    assert "unknown format" in (trained.folder / "none.csv").read_text()


@pytest.mark.parametrize("name", ["labels.json", "model.pt2"])
def test_a_damaged_model_is_one_line(trained: Trained, tmp_path: Path, name: str) -> None:
    (trained.folder / "a.png").touch()
    uri = f"sqlite:///{trained.folder}/mlflow.db"
    with tracking_uri_undone():
        mlflow.set_tracking_uri(uri)
        model = Path(mlflow.artifacts.download_artifacts(MODEL, dst_path=str(tmp_path)))
    file = model / "data" / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    done = run_here("pipeline.predict", trained.folder, "--model", str(model), "a.png", "--out", "p.csv")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith(f"error: --model is {model}, which is not loaded: ")


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--model", "models:/vit-digits@nobody", "a.png"), "--model is models:/vit-digits@nobody, which cannot be fe"),
        (("--model", "artifacts", "a.png"), "--model is artifacts, but must be a model that this pipeline registered"),
        (
            ("--model", MODEL, "a.png", "--top-k", "11"),
            "--top-k is 11, but must be at most the 10 classes of the model",
        ),
        (("--model", MODEL, "a.png", "--top-k", "-1"), "--top-k is -1, but must be at least 0"),
        (("--model", MODEL, "b.png"), "b.png names no file, no folder, and no pattern that a file fits"),
        (("--model", MODEL, "a.png", "--out", "p.txt"), "--out is p.txt, but must end in .parquet or .csv"),
    ],
)
def test_bad_input_is_one_line(trained: Trained, flags: tuple[str, ...], error: str) -> None:
    (trained.folder / "a.png").touch()
    done = run_here("pipeline.predict", trained.folder, "--out", "p.csv", *flags)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert done.stderr.startswith(f"error: {error}")
    assert not (trained.folder / "p.csv").exists()
