"""Tests of the copy of a version's files, and of their digest."""

import hashlib
from pathlib import Path

import pytest

from pipeline.promote.model_copy import copy_model, digest_of_files
from tests.unit.pipeline.promote.registered_models import Versions


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_digest_is_that_of_what_sha256sum_prints(tmp_path: Path) -> None:
    lines = [
        f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in (("MLmodel", "m"), ("data/a", "x"))
    ]
    expected = f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
    assert digest_of_files(write(tmp_path, data__a="x", MLmodel="m")) == expected


@pytest.mark.parametrize("change", [{"MLmodel": "n"}, {"data__b": ""}, {"code__gate": ""}])
def test_every_file_of_the_models_counts(tmp_path: Path, change: dict[str, str]) -> None:
    before = digest_of_files(write(tmp_path, data__a="x", MLmodel="m"))
    assert digest_of_files(write(tmp_path, **change)) != before


def test_verdicts_and_what_mlflow_adds_to_a_copy_do_not_count(tmp_path: Path) -> None:
    before = digest_of_files(write(tmp_path, data__a="x", MLmodel="m"))
    assert digest_of_files(write(tmp_path, gate__1__verdict="{}", registered_model_meta="y")) == before


def test_a_copy_has_the_digest_of_what_was_registered(versions: Versions, fair: Path, tmp_path: Path) -> None:
    version = versions.client.get_model_version(versions.name, str(versions.add(fair)))
    copy = copy_model(versions.client, version, tmp_path)
    assert copy.digest == digest_of_files(fair)
    assert copy.size == sum(path.stat().st_size for path in fair.rglob("*") if path.is_file())
    assert not (versions.files_of(1) / "registered_model_meta").exists()  # MLflow adds it to each copy
