"""Tests `pipeline.train --register`, and `pipeline.reproduce`, which retrains the version from its passport alone."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.registry.passport import read_passport
from pipeline.registry.registration import register
from pipeline.registry.versions import TestFigures, find_version
from pipeline.tracking.server import open_client
from pipeline.tracking.test_set_reads import count_test_set_reads
from tests.integration.commands import client_of, run_here, runs_of
from tests.integration.readme import commands_of
from vit.data.dataset import DataConfig, load_dataset
from vit.files.storage import WEIGHTS_FILE, Folder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
# The README's command, made short: the last value given for a flag counts.
((TRAIN, *FLAGS),) = (words for words in commands_of("pipeline.train") if "--set" in words)
FLAGS += ["--train-limit", "60", "--epochs", "2", "--seed", "5", "--precision", "fp32"]


@dataclass(frozen=True)
class Registered:
    """A training whose weights were cut before it was registered."""

    folder: Path
    """The folder of the store, which holds the one version."""
    said: str
    """What the command that registered the version printed."""
    whole: bytes
    """The complete weights, as they were at the end of the training."""


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Registered:
    folder = tmp_path_factory.mktemp("reproduce")
    trained = run_here(TRAIN, folder, *(flag for flag in FLAGS if flag != "--register"))
    assert (trained.returncode, trained.stderr) == (0, ""), trained.stdout + trained.stderr
    (weights,) = folder.glob(f"sweeps/train-*/trials/00000/{WEIGHTS_FILE}")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    said = run_here(TRAIN, folder, *FLAGS)
    assert (said.returncode, said.stderr) == (0, ""), said.stdout + said.stderr
    client_of(folder).set_registered_model_alias("vit-digits", "champion", "1")
    return Registered(folder, said.stdout, whole)


@pytest.fixture(scope="module")
def store(registered: Registered) -> Path:
    return registered.folder


def test_a_recipe_with_settings_of_ones_own_is_trained_and_registered(registered: Registered, tmp_path: Path) -> None:
    assert "registry: vit-digits version 1, test " in registered.said
    (run,) = (run for run in runs_of(registered.folder) if run.data.tags["pipeline.kind"] == "train")
    expected = {"optimizer": "muon", "global_pool": "avg", "depth": "4", "learning_rate": "0.002", "epochs": "2"}
    assert {name: run.data.params[name] for name in expected} == expected
    refused = run_here(TRAIN, tmp_path, *FLAGS, "--set", "depth=none")
    assert (refused.returncode, refused.stderr) == (2, "error: --set: depth is 'none', but must be a whole number\n")


def test_weights_that_were_cut_since_the_training_ended_are_not_registered(registered: Registered) -> None:
    (fetched,) = registered.folder.glob(f"sweeps/train-*/fetched/*/{WEIGHTS_FILE}")
    assert fetched.read_bytes() == registered.whole


def where(store: Path) -> tuple[str, ...]:
    """Returns the flags by which a command in another folder finds the versions, and an earlier test's retraining."""
    return "--tracking-uri", f"sqlite:///{store}/mlflow.db", "--storage", str(store / "again")


def test_it_comes_out_the_same_bit_for_bit_elsewhere_on_this_machine(store: Path, tmp_path: Path) -> None:
    """The retraining runs in another folder from the passport alone, without flags for the recipe, images or seed."""
    ((module, model),) = commands_of("pipeline.reproduce")
    result = tmp_path / "result.json"
    done = run_here(module, tmp_path, model, *where(store), "--json", str(result))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "nothing differs" in done.stdout
    assert "the same, bit for bit: validation " in done.stdout
    written = json.loads(result.read_text())
    assert (written["sameness"], written["differences"]) == ("bit for bit", [])
    (first,) = (run for run in runs_of(store) if run.data.tags["pipeline.kind"] == "train")
    (again,) = (run for run in runs_of(store) if run.data.tags["pipeline.kind"] == "reproduce")
    assert again.data.tags["pipeline.reproduces"] == first.info.run_id
    same = ("train/loss", "val/loss", "val/accuracy", "best/val_accuracy")
    assert {name: again.data.metrics[name] for name in same} == {name: first.data.metrics[name] for name in same}
    assert "pipeline.test_opened" not in again.data.tags  # the test images are not used


def test_what_is_registered_is_looked_for_before_it_is_believed(registered: Registered, tmp_path: Path) -> None:
    """A training is registered in another store too, and again if its version is deleted, with one test set read."""
    folder = shutil.copytree(registered.folder, tmp_path / "folder", ignore=shutil.ignore_patterns("mlflow.db"))
    (weights,) = folder.glob(f"sweeps/train-*/trials/00000/{WEIGHTS_FILE}")
    weights.write_bytes(registered.whole)
    digest = load_dataset(DataConfig("digits")).test_digest
    for _ in range(2):
        again = run_here(TRAIN, folder, *FLAGS)
        assert (again.returncode, again.stderr) == (0, ""), again.stdout + again.stderr
        assert "registry: vit-digits version 1, test " in again.stdout
        client, (run,) = client_of(folder), runs_of(folder)
        assert client.get_model_version_by_alias("vit-digits", "challenger").run_id == run.info.run_id
        assert {"test/accuracy", "best/val_accuracy"} <= run.data.metrics.keys()
        assert count_test_set_reads(client, digest) == 1
        client.delete_registered_model("vit-digits")


def test_the_passport_is_what_was_trained(store: Path) -> None:
    client = open_client(f"sqlite:///{store}/mlflow.db")
    passport = read_passport(client, find_version(client, "vit-digits@challenger"))
    assert passport is not None
    data = load_dataset(DataConfig("digits", train_limit=60))
    assert (passport.data.digest, passport.data.train_images) == (data.digest, 60)
    assert (passport.spec.recipe.optimizer, passport.spec.model.depth, passport.spec.seed) == ("muon", 4, 5)
    (machine,) = passport.machines
    assert (machine.workers, machine.threads, machine.gpu) == (1, 1, None)
    assert (passport.figures.test_set_reads, passport.origin.sweep_run_id) == (1, None)


def test_a_training_that_comes_out_otherwise_is_told(store: Path, tmp_path: Path) -> None:
    """The passport has the figures of another training, as a forged one might."""
    client = open_client(f"sqlite:///{store}/mlflow.db")
    passport = read_passport(client, find_version(client, "models:/vit-digits/1"))
    assert passport is not None
    measured = TestFigures(passport.figures.measured.test_digest, 1, 359, passport.figures.measured.val_accuracy)
    forged = replace(passport, weights_digest="0" * 64, figures=replace(passport.figures, measured=measured))
    (weights,) = store.glob("sweeps/train-*/fetched/*")  # the complete weights
    images = load_dataset(DataConfig("digits")).validation.images[:2]
    version = register(client, forged, Folder(str(weights)), images)
    done = run_here("pipeline.reproduce", tmp_path, f"models:/vit-digits/{version}", *where(store))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("error: not the same bits, though nothing differs; within the 95% interval of ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vit-digits"], "the model is 'vit-digits', but must be models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["models:/vit-digits/9"], "the model is 'models:/vit-digits/9', but there is no such version"),
        (["models:/vit-digits@previous"], "the model is 'models:/vit-digits@previous', but there is no such version"),
        (["models:/vit-bare/1"], "the model is 'models:/vit-bare/1', but must be a version with a passport"),
        (["models:/vit-digits/1", "--dataset", "other"], "--dataset is 'other', whose images are sha256:"),
    ],
)
def test_bad_usage_is_one_line(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    client = client_of(store)
    if not client.search_registered_models("name='vit-bare'"):
        client.create_registered_model("vit-bare")
        (tmp_path / "MLmodel").write_text("")
        client.create_model_version("vit-bare", source=tmp_path.as_uri())
    other_digits(tmp_path / "other")
    monkeypatch.setenv("VIT_DATA_DIR", str(tmp_path))
    done = run_here("pipeline.reproduce", tmp_path, *arguments, "--tracking-uri", f"sqlite:///{store}/mlflow.db")
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    assert done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1
    assert not (tmp_path / "sweeps").exists()


def other_digits(folder: Path) -> None:
    """Writes a folder of images that the model was not trained on."""
    import numpy as np
    from PIL import Image

    for split, count in (("train", 50), ("test", 2)):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
