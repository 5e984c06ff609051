"""The data sets that the values of `--dataset` mean, among them the digits, which are always available."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.unit.vit.data.sample_data import pet_folder, pet_parquet
from vit.data.arrays import DataError
from vit.data.sources import dataset_name, lasting_name, read_splits

pytestmark = pytest.mark.usefixtures("own_data_dir")


def test_a_plain_name_is_looked_up_in_the_data_dir_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = pet_folder(tmp_path / "here" / "pets")
    monkeypatch.chdir(here.parent)
    assert read_splits("pets", None).source == str(here)
    local = pet_parquet(tmp_path / "copies" / "pets")
    monkeypatch.setenv("VIT_DATA_DIR", str(local.parent))
    assert read_splits("pets", None).source == str(local)
    assert read_splits("./pets", None).source == str(here)
    monkeypatch.chdir(here)
    assert read_splits(".", None).name == "pets"


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("cifar11", "--dataset is cifar11, but no such data set or folder exists: .*digits, cifar10, auto, a folder"),
        ("no/such/folder", "--dataset is no/such/folder, but no such data set or folder exists"),
        ("file.parquet", r"--dataset file.parquet is a file, but must be a folder that holds train/<class>"),
        ("empty", r"empty holds no data set: it must hold train/<class>/.* or train\*\.parquet and test\*\.parquet"),
        ("x" * 300, "cannot be read: File name too long"),
        ("~nobody-here/pets", "--dataset is ~nobody-here/pets, but no such data set or folder exists"),
        ("data/Digits", "--dataset is data/Digits, but digits is the name of the data set that is always there"),
    ],
)
def test_no_such_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.parquet").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read_splits(dataset, None)


def test_the_name_of_a_data_set_is_known_without_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pet_folder(tmp_path / "My Pets.v2")
    monkeypatch.chdir(folder)
    for dataset in ("digits", ".", str(folder)):
        assert dataset_name(dataset) == read_splits(dataset, None).name
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    assert dataset_name(str(folder)) == "my-pets-v2-0ebc"
    assert dataset_name("cifar10") == "cifar10"
    with pytest.raises(DataError, match="no such data set or folder exists"):
        dataset_name("no/such/folder")


def test_folders_of_different_names_are_different_data_sets(tmp_path: Path) -> None:
    names = []
    for name in ("My Pets", "my.pets", "my-pets", "日本", "中国"):
        (tmp_path / name).mkdir()
        names.append(dataset_name(str(tmp_path / name)))
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("(my-pets|--)(-[0-9a-f]{4})?", name) for name in names)
    assert names[2] == "my-pets"


def test_a_lasting_name_means_the_same_in_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pet_folder(tmp_path / "pets")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert {lasting_name(given) for given in ("pets", "./pets", "~/pets", str(folder))} == {str(folder)}
    monkeypatch.setenv("VIT_DATA_DIR", str(tmp_path))
    assert lasting_name("pets") == "pets"
    assert lasting_name("./pets") == str(folder)
    assert lasting_name("digits") == "digits"


def test_digits() -> None:
    splits = read_splits("digits", None)
    assert (splits.name, splits.class_names, splits.mirror_safe) == ("digits", tuple("0123456789"), False)
    assert splits.train.images.shape == (1438, 8, 8, 1)
    assert (splits.train.images.min(), splits.train.images.max()) == (0, 255)
    # All digits that scikit-learn has, each once.
    pixels, target = load_digits(return_X_y=True)
    expected = sorted(zip(target.tolist(), np.rint(pixels * 255 / 16).tolist(), strict=True))
    images = [*splits.train.images.reshape(-1, 64).tolist(), *splits.test.images.reshape(-1, 64).tolist()]
    labels = [*splits.train.labels.tolist(), *splits.test.labels.tolist()]
    assert sorted(zip(labels, images, strict=True)) == expected
    counts = np.bincount(splits.test.labels)
    assert counts.sum() == 359
    # The classes have 174 to 183 images.
    assert set(counts) <= {34, 35, 36, 37}
    assert read_splits("digits", 16).test.images.shape == (359, 16, 16, 1)
