"""Trainings in the results file are not repeated, and results of other settings are not used in their place."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablation
from benchmarks.ablation import Arm, table, trained
from vit.data.dataset import DataConfig, load_dataset

ARM: Arm = ("optimizer=muon",)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Arm, int]]:
    """The arm and the seed of each training that would be run; nothing is trained, and every accuracy is 50%."""
    run: list[tuple[Arm, int]] = []

    def accuracy_of(dataset: Any, arm: Arm, arguments: Namespace, runtime: Any, seed: int) -> float:
        run.append((arm, seed))
        return 0.5

    monkeypatch.setattr(ablation, "accuracy_of", accuracy_of)
    monkeypatch.setattr(ablation, "faster_precision", lambda *anything: "fp32")
    return run


def results(file: Path, train_limit: int = 50, **changes: Any) -> list[tuple[Arm, int, float | None]]:
    arguments = {"recipe": "seed", "epochs": 2, "seeds": 1, "factor": list(ARM), "each": False, "json": file}
    dataset = load_dataset(DataConfig("digits", train_limit=train_limit))
    return list(trained(dataset, Namespace(**{**arguments, "train_limit": train_limit, **changes})))


def test_what_the_file_has_is_not_trained_again(tmp_path: Path, trainings: list[tuple[Arm, int]]) -> None:
    file = tmp_path / "results.json"
    assert results(file) == [((), 0, 0.5), (ARM, 0, 0.5)]
    assert results(file, seeds=2)[2:] == [((), 1, 0.5), (ARM, 1, 0.5)]
    assert trainings == [((), 0), (ARM, 0), ((), 1), (ARM, 1)]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 3}, "epochs 2, not 3"),
        ({"recipe": "two"}, "recipe seed, not two"),
        ({"train_limit": 60}, "; train limit 50, not 60"),
    ],
)
def test_results_of_other_settings_are_refused_in_one_line(
    changes: dict[str, Any], difference: str, tmp_path: Path, trainings: list[tuple[Arm, int]]
) -> None:
    file = tmp_path / "results.json"
    results(file)
    before = file.read_text()
    with pytest.raises(SystemExit) as refused:
        results(file, **changes)
    message = str(refused.value)
    assert message.startswith(f"--json is {file}, whose results are of ")
    assert message.endswith(f"{difference}: give another file")
    assert file.read_text() == before
    assert len(trainings) == 2


def test_another_precision_and_other_images_are_told_apart(
    tmp_path: Path, trainings: list[tuple[Arm, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "results.json"
    results(file)
    monkeypatch.setattr(ablation, "faster_precision", lambda *anything: "bf16")
    with pytest.raises(SystemExit, match="precision fp32, not bf16"):
        results(file)
    with pytest.raises(SystemExit, match=r"dataset digits sha256:[0-9a-f]{12}, not digits sha256:"):
        results(file, train_limit=60)


def test_an_older_file_is_read_and_is_said_not_to_tell(
    tmp_path: Path, trainings: list[tuple[Arm, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"seed 0: none": 0.25}))
    for _ in range(2):
        assert results(file) == [((), 0, 0.25), (ARM, 0, 0.5)]
        assert f"{file} does not say what its results were trained with" in capsys.readouterr().out
    assert trainings == [(ARM, 0)]


def test_a_training_that_diverged_is_counted_and_is_part_of_no_mean() -> None:
    lines = table({(): [0.6, 0.5, 0.4], ARM: [0.7, None, 0.6]}, ARM).splitlines()
    assert lines[2:4] == [
        "| none | 50.00% | 10.00% | 3 | 0 |",
        "| optimizer=muon | 65.00% | 7.07% | 2 | 1 |",
    ]
    assert lines[-1] == "| optimizer=muon | +15.00 | 5.00 | 2 |"  # 10 points with the first seed, 20 with the third
    assert table({(): [0.6], ARM: [None]}, ARM).splitlines()[-1] == "| optimizer=muon |  |  | 0 |"
