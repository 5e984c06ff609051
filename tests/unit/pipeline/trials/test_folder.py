"""The history of a trial and the driver's word on it, kept in its folder."""

from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.trials.folder import TrialHistory, TrialLedger, trial_folder


def test_the_best_epoch_is_the_earliest_of_equals() -> None:
    history = TrialHistory()
    told = [
        history.add(number, 1000 + number, {"val/accuracy": accuracy}, [[number]])
        for number, accuracy in enumerate([0.0, 0.3, 0.2, 0.3, 0.4, 0.1], start=1)
    ]
    assert told == [True, True, False, False, True, False]
    assert (history.best_epoch, history.best_accuracy, history.best_confusion) == (5, 0.4, [[5]])
    assert [(each["epoch"], each["at"]) for each in history.epochs] == [
        (number, 1000 + number) for number in range(1, 7)
    ]


@pytest.mark.parametrize("where", ["path", "memory"])
def test_round_trip(where: str, tmp_path: Path) -> None:
    base = str(tmp_path / "trials") if where == "path" else f"memory://{uuid4()}/trials"
    history = TrialHistory()
    history.add(1, 1000, {"val/accuracy": 0.1 + 0.2, "train/loss": 1e-17}, [[3, 1], [0, 4]])
    history.write(trial_folder(base, 7))
    assert TrialHistory.read(trial_folder(base, 7)) == history
    history.add(2, 2000, {"val/accuracy": 0.9, "train/loss": 0.5}, [[4, 0], [0, 4]])
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
