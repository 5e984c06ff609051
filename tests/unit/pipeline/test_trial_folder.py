"""The history of a trial, kept in its folder."""

from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.trial_folder import TrialHistory, trial_folder


def test_the_best_epoch_is_the_earliest_of_equals() -> None:
    history = TrialHistory()
    told = [
        history.add(number, {"val/accuracy": accuracy}, [[number]])
        for number, accuracy in enumerate([0.0, 0.3, 0.2, 0.3, 0.4, 0.1], start=1)
    ]
    assert told == [True, True, False, False, True, False]
    assert (history.best_epoch, history.best_accuracy, history.best_confusion) == (5, 0.4, [[5]])
    assert [each["epoch"] for each in history.epochs] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("where", ["path", "memory"])
def test_round_trip(where: str, tmp_path: Path) -> None:
    base = str(tmp_path / "trials") if where == "path" else f"memory://{uuid4()}/trials"
    history = TrialHistory()
    history.add(1, {"val/accuracy": 0.1 + 0.2, "train/loss": 1e-17}, [[3, 1], [0, 4]])
    history.write(trial_folder(base, 7))
    assert TrialHistory.read(trial_folder(base, 7)) == history
    history.add(2, {"val/accuracy": 0.9, "train/loss": 0.5}, [[4, 0], [0, 4]])
    history.write(trial_folder(base, 7))
    assert TrialHistory.read(trial_folder(base, 7)) == history
    with pytest.raises(FileNotFoundError):
        TrialHistory.read(trial_folder(base, 8))


def test_folders_of_trials_sort_by_index(tmp_path: Path) -> None:
    uris = [trial_folder(str(tmp_path), index).uri for index in (0, 9, 10, 123)]
    assert uris == sorted(uris)
    assert uris[1] == f"{tmp_path}/00009"
