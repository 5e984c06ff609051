"""Tests what a version's passport and its description contain, and how the code's state is recorded."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pipeline.registry import provenance
from pipeline.registry.model_card import model_card
from pipeline.registry.passport import Origin, Passport
from pipeline.registry.provenance import CodeState, package_versions
from tests.unit.pipeline.registry.passports import PASSPORT
from vit.data.dataset import DataConfig


def test_the_file_gives_back_the_passport() -> None:
    assert TypeAdapter(Passport).validate_json(PASSPORT.to_json()) == PASSPORT


def test_a_broken_file_is_no_passport() -> None:
    fields = json.loads(PASSPORT.to_json())
    del fields["spec"]["seed"]
    with pytest.raises(ValueError, match=r"spec\.seed"):
        TypeAdapter(Passport).validate_python(fields)


def test_the_tags_lead_to_the_same_images() -> None:
    tags = PASSPORT.tags
    assert DataConfig(**json.loads(tags["pipeline.data_source"])) == PASSPORT.data.config
    assert (tags["pipeline.sweep_run_id"], tags["pipeline.trial"], tags["pipeline.test_correct"]) == ("s1", "3", "7")
    alone = replace(PASSPORT, origin=Origin("python -m pipeline.train", "r1"))
    assert "pipeline.trial" not in alone.tags


def test_the_description_says_what_somebody_who_finds_the_model_asks() -> None:
    card = model_card(PASSPORT)
    for said in (
        "4 classes of x", "8x8 pixels", "| test | 77.78% | 45.26% to 93.68% | 9 |", "bee 50.0%, dog 75.0%, ant 100.0%",
        "40 images", "muon", "seed 17", "commit 0123456789ab, with changes that are not committed", "Xeon",
        "read 2 times", 'mlflow.pyfunc.load_model("models:/vit-x@champion")', "(N, 8, 8, 3)",
        "mlflow models serve -m models:/vit-x@champion", '-d "{\\"instances\\": [\\"$(base64 -w0 image.png)\\"]}"',
        "no input",
    ):  # fmt: skip
        assert said in card, card


def test_the_description_of_a_thousand_classes_fits_into_the_registry() -> None:
    names = tuple(f"class {number}" for number in range(1000))
    data, figures = replace(PASSPORT.data, class_names=names), PASSPORT.figures
    card = model_card(
        replace(PASSPORT, data=data, figures=replace(figures, test_class_accuracy=(0.5,) * 1000), machines=())
    )
    assert len(card) < 5000 and "models:/vit-x@champion" in card and "not recorded" in card


def test_the_code_is_that_of_the_commit_until_it_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert (CodeState.now().commit, CodeState.now().is_clean) == (None, None)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file.py").write_text("1")
    subprocess.run([*git, "add", "file.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "mlflow.db").write_text("what a command leaves here")
    assert (CodeState.now().commit, CodeState.now().is_clean) == (head, True)
    (tmp_path / "file.py").write_text("2")
    assert CodeState.now().is_clean is False


def test_the_versions_are_those_that_are_imported() -> None:
    import numpy
    import torch

    versions = package_versions()
    assert versions["numpy"] == numpy.__version__
    assert versions["torch"] == torch.__version__.partition("+")[0] or versions["torch"] == torch.__version__
