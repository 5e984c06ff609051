"""Tests that a version's test images are loaded from where they were, or from where the user says they are now."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities.model_registry import ModelVersion
from PIL import Image

from pipeline.errors import GateRefusedError, UsageError
from pipeline.promote.test_images import load_test_images
from vit.data.dataset import DataConfig, load_dataset


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a data set with two classes, which the tags of a version can name."""
    folder, generator = tmp_path_factory.mktemp("images") / "flowers", np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in ("rose", "tulip"):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
                image.save(folder / part / name / f"{number}.png")
    return folder


def version_of(folder: Path | str, **more: object) -> ModelVersion:
    tags = {"pipeline.data_source": json.dumps({"dataset": str(folder), **more}), "pipeline.dataset": "flowers"}
    version = ModelVersion("vit-flowers", "3", 0, tags=[])
    version._tags.update(tags)
    return version


def digest_of(folder: Path, img_size: int | None = None) -> str:
    return load_dataset(DataConfig(str(folder), img_size)).test_digest


def test_they_are_loaded_as_the_version_says(flowers: Path) -> None:
    loaded = load_test_images(version_of(flowers, img_size=8), None, digest_of(flowers, 8))
    assert loaded.images.images.shape == (4, 8, 8, 3)
    assert loaded.class_names == ("rose", "tulip")


def test_a_name_only_says_which_model_is_meant(flowers: Path) -> None:
    assert len(load_test_images(version_of(flowers), "flowers", digest_of(flowers)).images) == 4


def test_a_path_says_where_they_are_now(flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = shutil.copytree(flowers, tmp_path / "moved" / "flowers")
    version, digest = version_of("/was/here/flowers", img_size=8), digest_of(flowers, 8)
    assert load_test_images(version, str(moved), digest).source == str(moved)
    monkeypatch.chdir(moved.parent)
    # The name of a folder in the working directory is a path, too.
    assert load_test_images(version, "flowers", digest).source == str(moved)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"version 3 cannot be loaded .*/was/here/flowers.*holds flowers/"):
        load_test_images(version, "flowers", digest)


def test_others_are_refused_by_both_digests(flowers: Path) -> None:
    with pytest.raises(
        GateRefusedError, match=rf"of digest sha256:other, but those of .*flowers have {digest_of(flowers)}"
    ):
        load_test_images(version_of(flowers), None, "sha256:other")
