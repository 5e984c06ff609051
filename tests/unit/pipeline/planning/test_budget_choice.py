"""Tests that the size chosen for a budget is kept, in real folders and stores, with made-up sizes that would fit."""

import shutil
from collections.abc import Callable
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import pipeline.config
from pipeline.config import SweepConfig, TrialResources
from pipeline.planning import budget_choice
from pipeline.planning.budget import SweepSize
from pipeline.planning.budget_choice import BudgetChoice, fit_to_budget
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession
from vit.data.dataset import DataConfig

Fit = Callable[..., str]
FIRST = "budget 30m: 5 trials, 2 epochs, 50 images"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the path of a tracking store's database, the same for all tests, since creating one takes seconds."""
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture
def config_of(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepConfig]:
    monkeypatch.setattr(pipeline.config, "_ONNX_PACKAGES", ())  # so that the `onnx` extra need not be installed
    data = DataConfig("digits", train_limit=50)
    always: dict[str, Any] = {"data": data, "storage": str(tmp_path), "tracking_uri": f"sqlite:///{store}"}
    return lambda **options: SweepConfig(**{**always, **options})


@pytest.fixture
def fit(config_of: Callable[..., SweepConfig], monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Returns a function that runs the command with the given options and returns what it prints.

    Each time that a size is chosen, it has one trial more, so that a new choice can be told from a kept one.
    """
    trials = count(5)
    monkeypatch.setattr(
        budget_choice, "_choose", lambda *question: BudgetChoice(SweepSize(next(trials), 2, 50), 60.0, 20.0, 5.0)
    )

    def fitted(budget: str = "30m", **options: Any) -> str:
        said = StringIO()
        fit_to_budget(config_of(**options), budget, 0.0, Console(file=said, width=1000))
        return said.getvalue()

    return fitted


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"export": "onnx"},
        {"until_stage": "search"},
        {"from_stage": "confirm"},
        {"cache": False},
        {"max_failures": 5},
        {"stall_minutes": 3.0},
        {"tracking_timeout": 9.0},
    ],
)
def test_what_decides_no_sweeps_time_leaves_its_size_as_it_was(fit: Fit, options: dict[str, Any]) -> None:
    """A sweep of another size would have other images and epochs, so everything would be trained again."""
    assert fit().startswith(f"{FIRST}, expected to take 1m; ")
    assert fit(**options).startswith(f"{FIRST}, as chosen before; ")
    assert fit().startswith(f"{FIRST}, as chosen before; ")


def test_the_sweep_keeps_its_trials_and_so_the_settings_by_which_it_is_known(
    fit: Fit, config_of: Callable[..., SweepConfig]
) -> None:
    """Else `--plan` would say of a finished sweep that it runs again, with other trials."""
    fit()
    fitted = fit_to_budget(config_of(trials=20), "30m", 0.0, Console(quiet=True))
    assert (fitted.trials, fitted.max_epochs) == (20, 2)
    assert fitted.budget is not None and fitted.budget.trials < 20


def test_so_does_another_tracking_store(fit: Fit, store: Path, tmp_path: Path) -> None:
    fit()
    other = shutil.copy(store, tmp_path)
    assert fit(tracking_uri=f"sqlite:///{other}").startswith(f"{FIRST}, as chosen before; ")


def test_and_a_second_folder_for_what_is_computed_anew(fit: Fit, config_of: Callable[..., SweepConfig]) -> None:
    fit()
    with open_session(SweepSession, config_of(), Console(quiet=True)) as session:
        session.memory.remember("finished", True)
        session.tracker.close()
    assert fit(cache=False).startswith(f"{FIRST}, as chosen before; ")


@pytest.mark.parametrize(
    "options",
    [
        {"budget": "31m"},
        {"trials": 33},
        {"finalists": 3},
        {"seeds": 3},
        {"audit": 1},
        {"max_epochs": 7},
        {"seed": 1},
        {"fuse": "off"},
        {"workers_per_trial": 2},
        {"resources": TrialResources(max_concurrent=1)},
        {"data": DataConfig("digits", train_limit=60)},
    ],
)
def test_what_decides_its_time_has_the_size_chosen_anew(fit: Fit, options: dict[str, Any]) -> None:
    fit()
    assert ": 6 trials, 2 epochs, 50 images, expected to take 1m; " in fit(**options)


def the_choice(storage: Path) -> Path:
    """Returns the only file in which a choice is kept."""
    (file,) = (storage / "budgets").iterdir()
    return file


@pytest.mark.parametrize("broken", ["", "{", "null", "{}", '{"size": 3}', '{"size": {"trials": 3}}'])
def test_a_choice_that_cannot_be_read_is_made_anew_and_kept(fit: Fit, tmp_path: Path, broken: str) -> None:
    fit()
    whole = the_choice(tmp_path).read_text()
    the_choice(tmp_path).write_text(broken)
    assert ": 6 trials, 2 epochs, 50 images, expected to take 1m; " in fit()
    assert the_choice(tmp_path).read_text() == whole.replace('"trials": 5', '"trials": 6')
    assert ": 6 trials, 2 epochs, 50 images, as chosen before; " in fit()


def test_a_choice_survives_a_power_cut_and_is_written_once(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("vit.files.storage._sync", lambda path: synced.append(path))
    fit()
    assert tmp_path / "budgets" in synced
    assert [path.name for path in tmp_path.iterdir()] == ["budgets"]  # no sweep left a folder
    before = the_choice(tmp_path).stat().st_ino  # each write creates a new file
    fit()
    assert the_choice(tmp_path).stat().st_ino == before
