"""Tests the files in a trial's folder: its history, the driver's record of it, and its confusion matrix."""

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.trials.folder import (
    HISTORY_FILE,
    LEDGER_FILE,
    TrialHistory,
    TrialLedger,
    read_confusion,
    trial_folder,
    write_confusion,
)
from vit.files.storage import Folder


def test_the_best_epoch_is_the_earliest_of_equals() -> None:
    history = TrialHistory()
    is_best = [
        history.add(number, 1000 + number, {"val/accuracy": accuracy})
        for number, accuracy in enumerate([0.0, 0.3, 0.2, 0.3, 0.4, 0.1], start=1)
    ]
    assert is_best == [True, True, False, False, True, False]
    assert (history.best_epoch, history.best_accuracy) == (5, 0.4)
    assert [(each["epoch"], each["at"]) for each in history.epochs] == [
        (number, 1000 + number) for number in range(1, 7)
    ]


@pytest.mark.parametrize("where", ["path", "memory"])
def test_round_trip(where: str, tmp_path: Path) -> None:
    base = str(tmp_path / "trials") if where == "path" else f"memory://{uuid4()}/trials"
    history = TrialHistory()
    history.add(1, 1000, {"val/accuracy": 0.1 + 0.2, "train/loss": 1e-17})
    history.write(trial_folder(base, 7))
    assert TrialHistory.read(trial_folder(base, 7)) == history
    history.add(2, 2000, {"val/accuracy": 0.9, "train/loss": 0.5})
    history.write(trial_folder(base, 7))
    assert TrialHistory.read(trial_folder(base, 7)) == history
    assert TrialHistory.read(trial_folder(base, 8)) == TrialHistory()
    assert TrialLedger.read(trial_folder(base, 7)) is None
    ledger = TrialLedger({"index": 7}, [{"epoch": 1, "accuracy": 0.1 + 0.2, "go_on": False}], "asha", "why")
    ledger.write(trial_folder(base, 7))
    assert TrialLedger.read(trial_folder(base, 7)) == ledger
    assert TrialHistory.read(trial_folder(base, 7)) == history


def test_folders_of_trials_sort_by_index(tmp_path: Path) -> None:
    uris = [trial_folder(str(tmp_path), index).uri for index in (0, 9, 10, 123)]
    assert uris == sorted(uris)
    assert uris[1] == f"{tmp_path}/00009"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"unknown": 1}'])
def test_a_broken_record_of_the_driver_is_an_error_in_a_line(tmp_path: Path, content: bytes) -> None:
    """A power cut may leave the file like this."""
    folder = trial_folder(str(tmp_path), 3)
    folder.write(LEDGER_FILE, content)
    with pytest.raises(PipelineError, match=f"^{folder.uri}/{LEDGER_FILE} is broken .*remove its folder"):
        TrialLedger.read(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_broken_history_counts_as_none(tmp_path: Path, content: bytes) -> None:
    folder = trial_folder(str(tmp_path), 3)
    folder.write(HISTORY_FILE, content)
    assert TrialHistory.read(folder) == TrialHistory()


@pytest.mark.parametrize("where", ["path", "memory"])
def test_a_confusion_matrix_comes_back(where: str, tmp_path: Path) -> None:
    folder = trial_folder(str(tmp_path) if where == "path" else f"memory://{uuid4()}/trials", 3)
    write_confusion(folder, np.array([[3, 1], [0, 70_000]]))
    assert read_confusion(folder).tolist() == [[3, 1], [0, 70_000]]


def test_what_is_written_each_epoch_does_not_grow_with_the_square_of_the_classes(tmp_path: Path) -> None:
    """With the confusion matrix in it, the file took 3 MB for 1,000 classes, and it was written twice an epoch."""
    history = TrialHistory()
    history.add(1, 0, {"val/accuracy": 0.5, **{f"val/class_accuracy/{number}": 0.5 for number in range(1000)}})
    history.write(trial_folder(str(tmp_path), 3))
    assert len(trial_folder(str(tmp_path), 3).read(HISTORY_FILE)) < 50_000


def test_a_training_remembers_each_machine_once_in_a_row(tmp_path: Path) -> None:
    folder, first, second = Folder(str(tmp_path)), {"processor": "Xeon"}, {"processor": "EPYC"}
    for machine in (first, first, second, second, first):
        history = TrialHistory.read(folder)
        history.trains_on(machine)
        history.write(folder)
    assert TrialHistory.read(folder).machines == [first, second, first]
