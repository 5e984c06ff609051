"""Tests that a registered model answers as its weights do, wherever it is loaded, and refuses what it cannot read."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import mlflow
import mlflow.pytorch
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from pipeline.errors import UsageError
from pipeline.registry import versions as registry
from pipeline.registry.model_card import EXAMPLE_REQUEST, model_card
from pipeline.registry.model_files import lost_version
from pipeline.registry.passport import read_passport
from pipeline.registry.registration import register
from pipeline.tracking.server import open_client
from tests.integration.commands import answers, free_port, wait_until
from tests.unit.pipeline.registry.passports import MEASURED, passport
from tests.unit.vit.data.sample_data import encoded
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import ModelCard, save_card, save_weights
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer

NAME = "vit-x"
CLASSES = ("ant", "bee", "cat", "dog")


@dataclass(frozen=True)
class Registered:
    client: MlflowClient
    run_id: str
    version: int
    seconds: float
    images: np.ndarray
    """uint8 (7, 8, 8, 3): example images."""
    expected: np.ndarray
    """float32 (7, 4): the probabilities that the weights themselves give for the images."""


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    folder = tmp_path_factory.mktemp("registry")
    client = open_client(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment(NAME, artifact_location=(folder / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    card, model = _trained(Folder(str(folder / "weights")))
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model(card.normalisation(torch.from_numpy(images))).softmax(dim=-1).numpy()
    start = time.monotonic()
    weights = Folder(str(folder / "weights"))
    version = register(client, passport(NAME, run_id), weights, images[:2])
    yield Registered(client, run_id, version, time.monotonic() - start, images, expected)


def _trained(folder: Folder) -> tuple[ModelCard, VisionTransformer]:
    """Saves and returns a model that tells images apart, with dropout that must be off when the model answers."""
    torch.manual_seed(0)
    config = ViTConfig(
        img_size=8, num_classes=4, embed_dim=16, depth=2, num_heads=2, proj_drop_rate=0.5, drop_path_rate=0.5
    )
    card = ModelCard(config, Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), CLASSES)
    model = VisionTransformer(config).eval()
    torch.nn.init.normal_(model.head.weight, std=2.0)
    save_card(folder, card)
    save_weights(folder, model, epoch=3)
    return card, model


def test_registering_takes_seconds(registered: Registered) -> None:
    # It takes 3 s here. If MLflow had to infer the requirements, it would start a process that imports torch again.
    assert registered.seconds < 15


def test_the_version_is_the_challenger_and_carries_what_was_measured(registered: Registered) -> None:
    version = registered.client.get_model_version_by_alias(NAME, registry.CHALLENGER)
    assert int(version.version) == registered.version == 1
    assert version.run_id == registered.run_id
    known = passport(NAME, registered.run_id)
    assert version.tags == known.tags
    assert version.description == model_card(known)
    assert read_passport(registered.client, version) == known
    assert registry.TestFigures.from_tags(version.tags) == MEASURED


def test_the_model_is_filed_under_its_run_and_its_experiment(registered: Registered) -> None:
    run = registered.client.get_run(registered.run_id)
    assert run.outputs is not None
    [output] = run.outputs.model_outputs
    model = registered.client.get_logged_model(output.model_id)
    assert (model.experiment_id, model.status.name) == (run.info.experiment_id, "READY")
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": NAME, "version": 1}]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_pyfunc_gives_names_and_the_weights_probabilities(registered: Registered, batch: int) -> None:
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")
    answer = loaded.predict(registered.images[:batch])
    expected = registered.expected[:batch]
    assert list(answer.columns) == ["class_name", "probabilities"]
    np.testing.assert_allclose(np.array(answer.probabilities.tolist()), expected, atol=1e-5)
    assert answer.class_name.tolist() == [CLASSES[index] for index in expected.argmax(axis=1)]


def test_more_images_than_one_pass_takes(registered: Registered) -> None:
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")
    answer = loaded.predict(np.concatenate([registered.images] * 40))
    expected = np.concatenate([registered.expected] * 40)
    np.testing.assert_allclose(np.array(answer.probabilities.tolist()), expected, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_pytorch_flavor_loads_without_unpickling_code(
    registered: Registered, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    program = mlflow.pytorch.load_model(f"models:/{NAME}@challenger")
    answer = program(torch.from_numpy(registered.images[:batch])).detach()
    assert answer.dtype == torch.float32
    np.testing.assert_allclose(answer.numpy(), registered.expected[:batch], atol=1e-5)


def test_the_model_carries_only_the_code_it_needs(registered: Registered) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@challenger"))
    assert {path.name for path in (folder / "code").rglob("*.py")} == {"vit_serving.py", "vit_pixels.py"}
    names = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert names == {"mlflow", "torch", "numpy", "pandas", "pillow"}


@pytest.mark.slow
def test_it_loads_where_the_project_is_not_installed(registered: Registered, tmp_path: Path) -> None:
    folder = mlflow.artifacts.download_artifacts(f"models:/{NAME}@challenger")
    np.save(tmp_path / "images.npy", registered.images)
    program = (
        "import sys; sys.modules['vit'] = sys.modules['pipeline'] = None\n"
        "import json, mlflow, numpy\n"
        f"model = mlflow.pyfunc.load_model({folder!r})\n"
        f"model.predict([{_in_base64(registered.images[0])!r}])\n"
        "answer = model.predict(numpy.load('images.npy'))\n"
        "print(json.dumps(answer.probabilities.tolist()))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), registered.expected, atol=1e-5)


def _in_base64(pixels: np.ndarray) -> str:
    return base64.b64encode(encoded(pixels)).decode()


def test_pixels_and_files_in_base64_get_the_same_answer_in_every_wrapping(registered: Registered) -> None:
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")
    files = [_in_base64(pixels) for pixels in registered.images]
    for given in (files, pd.DataFrame({"image": files}), {"image": files}, registered.images.astype(np.int64)):
        answer = loaded.predict(given)
        np.testing.assert_allclose(np.array(answer.probabilities.tolist()), registered.expected, atol=1e-5)
    assert len(loaded.predict(registered.images[:0])) == 0


def test_a_file_of_another_size_and_without_colour_is_made_to_fit(registered: Registered) -> None:
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@challenger")
    grey = np.full((31, 17), 90, np.uint8)
    expected = loaded.predict(np.full((1, 8, 8, 3), 90, np.uint8))
    pd.testing.assert_frame_equal(loaded.predict([_in_base64(grey)]), expected)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("scaled", r"expected whole numbers from 0 to 255 of shape \(N, 8, 8, 3\), .* but got float64 of shape"),
        ("too large", "but got numbers from 0 to 510"),
        ("one image", r"but got uint8 of shape \(8, 8, 3\)"),
        ("another size", r"but got uint8 of shape \(7, 4, 8, 3\)"),
        ("no base64", "image 1 is a string, but not a file in base64"),
        ("no image", "image 1 is not an image that can be read: unknown format"),
        ("two columns", "expected the column image and no other, but got image, label"),
        ("a number", "expected an array or a list of images, but got a single value"),
    ],
)
def test_images_of_another_kind_are_refused(registered: Registered, wrong: str, reason: str) -> None:
    images, file = registered.images, _in_base64(registered.images[0])
    given = {
        "scaled": images / 255,
        "too large": images.astype(np.int64) * 2,
        "one image": images[0],
        "another size": images[:, :4],
        "no base64": [file, "?"],
        "no image": [file, base64.b64encode(b"no").decode()],
        "two columns": pd.DataFrame({"image": [file], "label": [1]}),
        "a number": 3,
    }[wrong]
    with pytest.raises(ValueError, match=reason):
        mlflow.pyfunc.load_model(f"models:/{NAME}@challenger").predict(given)


@pytest.mark.slow
def test_mlflows_server_answers_pixels_and_files_over_http(registered: Registered, tmp_path: Path) -> None:
    port = free_port()
    serve = ["models", "serve", "-m", f"models:/{NAME}@challenger", "--env-manager", "local", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registered.client.tracking_uri}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # MLflow looks for uvicorn on the PATH
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", *serve], env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/ping"))
        assert server.poll() is None, (tmp_path / "log").read_text()
        pixels, files = registered.images.tolist(), [_in_base64(image) for image in registered.images]
        for body in (
            {"instances": pixels},
            {"inputs": pixels},
            {"instances": files},
            {"inputs": files},
            {"dataframe_split": {"columns": ["image"], "data": [[file] for file in files]}},
        ):
            status, answer = _ask(port, body)
            assert status == 200, answer
            probabilities = [each["probabilities"] for each in answer["predictions"]]
            np.testing.assert_allclose(np.array(probabilities), registered.expected, atol=1e-5)
            names = [CLASSES[index] for index in registered.expected.argmax(axis=1)]
            assert [each["class_name"] for each in answer["predictions"]] == names
        example = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@challenger/{EXAMPLE_REQUEST}"))
        status, answer = _ask(port, json.loads(example.read_text()))
        assert (status, len(answer["predictions"])) == (200, 2), answer
        status, answer = _ask(port, {"instances": (registered.images / 255).tolist()})
        assert (status, "but got float64 of shape" in answer["stack_trace"]) == (400, True)
    finally:
        server.terminate()
        server.wait(30)


def _ask(port: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Returns the status and the answer of the server."""
    request = Request(f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    try:
        with urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


def test_an_example_of_one_image_is_refused(registered: Registered, tmp_path: Path) -> None:
    from mlflow.models import Model

    from pipeline.registry.served_model import save_served_model

    card, model = _trained(Folder(str(tmp_path / "weights")))
    with pytest.raises(ValueError, match="holds 1 images, but must hold at least 2"):
        save_served_model(tmp_path / "model", model, card, registered.images[:1], Model())


def test_a_data_sets_model_is_named_after_its_folder(tmp_path: Path) -> None:
    assert registry.model_name_of("digits") == "vit-digits"
    assert registry.model_name_of(f"{tmp_path}/My Pets.v2/") == "vit-my-pets-v2-0ebc"
    with pytest.raises(UsageError, match="--dataset is 'auto', but must name"):
        registry.model_name_of("auto")


@pytest.mark.parametrize(("alias", "left"), [("champion", {"champion": 1}), ("challenger", {"challenger": 2})])
def test_what_is_registered_again_pushes_nobody_aside(
    tmp_path: Path, alias: str, left: dict[str, int], registered: Registered
) -> None:
    """An older sweep's stage may run again when its version is the champion, or when a newer one is the challenger."""
    name, weights, measured = f"vit-{alias}", Folder(str(tmp_path)), MEASURED
    client, run_id = registered.client, registered.run_id
    source = str(client.get_model_version(NAME, str(registered.version)).source)
    client.create_registered_model(name)
    for _ in range(2):
        tags = {**measured.to_tags(), "pipeline.run_id": run_id}
        client.create_model_version(name, source=source, run_id=run_id, tags=tags)
        measured = replace(measured, test_correct=8)
    client.set_registered_model_alias(name, alias, "1" if alias == "champion" else "2")
    assert register(client, passport(name, run_id), weights, registered.images[:2]) == 1
    aliases = client.get_registered_model(name).aliases
    assert {each: int(version) for each, version in aliases.items()} == left


def test_a_version_whose_files_are_gone_is_registered_anew(tmp_path: Path, registered: Registered) -> None:
    name, weights = "vit-lost", Folder(str(tmp_path / "weights"))
    client, run_id = registered.client, registered.run_id
    _trained(weights)
    assert register(client, passport(name, run_id), weights, registered.images[:2]) == 1
    assert lost_version(client, name, 1, run_id) is None
    assert lost_version(client, name, 1, "another run") == "version 1 of vit-lost"
    files = client.get_logged_model(str(client.get_model_version(name, "1").source).removeprefix("models:/"))
    shutil.rmtree(files.artifact_location.removeprefix("file://"))
    assert lost_version(client, name, 1, run_id) == "what version 1 of vit-lost consists of"
    assert register(client, passport(name, run_id), weights, registered.images[:2]) == 2
    assert lost_version(client, name, 2, run_id) is None
    client.delete_registered_model(name)
    assert lost_version(client, name, 2, run_id) == "version 2 of vit-lost"
