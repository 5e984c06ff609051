"""Tests of trials chosen from earlier results: reproducible if run one at a time, and better than random ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from pipeline.errors import UsageError
from pipeline.search.driver import SearchDriver, SearchLimits
from pipeline.search.reports import epoch_report
from pipeline.search.suggestions import TpeSuggestions, refuse_unsuggestable
from pipeline.trials.folder import TrialHistory, trial_folder
from pipeline.trials.ledger import Ledger
from pipeline.trials.records import EpochRecord, TrialRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.catalogue import SPACES
from tune_spaces.space import Space, draw_trials
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape
from vit.training.recipes import fast30

SHAPE = DataShape(32, 3, 10, mirror_safe=True)
SPACE = Space(
    "toy",
    max_epochs=1,
    domains=lambda shape: {"learning_rate": tune.loguniform(1e-4, 1e-1), "depth": tune.randint(1, 9)},
    base=fast30,
)
EPOCHS = 1


def accuracy_of(spec: TrialSpec) -> float:
    """Returns a made-up accuracy: the deeper the model, the better, up to depth 8."""
    return spec.model.depth / 10


def run(folder: Path, trials: int, seed: int = 0, until: int | None = None) -> list[TrialSpec]:
    """Runs a search in a folder, or resumes it, one trial at a time; returns its trials.

    Breaks off, and returns nothing, once `until` trials have started.
    """
    suggest = TpeSuggestions(SPACE, SHAPE, EPOCHS, seed)
    planned = draw_trials(SPACE, SHAPE, trials, EPOCHS, seed)
    ledger = Ledger(str(folder), planned, fixed=False)
    driver = SearchDriver(planned, Rungs(1, 3, 1), ledger, [], SearchLimits(lambda: 1), lambda: False, suggest)
    while not driver.has_no_more_trials:
        spec = driver.next_trial()
        driver.begin(spec.index)
        if spec.index + 1 == until:
            return []
        metrics = {"val/accuracy": accuracy_of(spec), "val/loss": 1.0, "epoch_seconds": 1.0}
        history = TrialHistory()
        history.add(1, 0, metrics)
        history.write(trial_folder(str(folder), spec.index))
        driver.note_report(spec.index, epoch_report(history.epochs[0], EPOCHS, [], 1))
        driver.end(spec.index)
    return [record.spec for record in driver.records]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_the_spaces_by_name_can_be_suggested_from(name: str) -> None:
    refuse_unsuggestable(SPACES[name], SHAPE)


@pytest.mark.parametrize("domain", [tune.randn(0.1, 0.01), tune.sample_from(lambda config: 0.1)])
def test_a_domain_that_optuna_does_not_know_is_refused_before_a_trial_runs(domain: Any) -> None:
    space = replace(SPACE, domains=lambda shape: {"depth": tune.randint(1, 9), "label_smoothing": domain})
    refused = (
        r"^--search is tpe, but must be random: it cannot choose values of label_smoothing from the domain in --space"
    )
    with pytest.raises(UsageError, match=refused):
        refuse_unsuggestable(space, SHAPE)


def test_it_begins_as_every_sweep_does(tmp_path: Path) -> None:
    assert run(tmp_path, 2) == draw_trials(SPACE, SHAPE, 2, EPOCHS, 0)


def test_same_seed_same_trials_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (run(tmp_path / name, 14, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first == again
    assert all(left.recipe != right.recipe for left, right in zip(first[2:], other[2:], strict=True))


@pytest.mark.parametrize("until", [1, 5, 13])
def test_a_search_that_was_cut_off_finds_the_same_trials(until: int, tmp_path: Path) -> None:
    run(tmp_path / "cut", 14, until=until)
    assert run(tmp_path / "cut", 14) == run(tmp_path / "straight", 14)


def test_a_longer_search_begins_with_the_shorter_one(tmp_path: Path) -> None:
    shorter = run(tmp_path, 12)
    longer = run(tmp_path, 16)
    assert longer[:12] == shorter
    assert len(longer) == 16


def test_it_is_drawn_to_what_is_good(tmp_path: Path) -> None:
    by_chance = [spec.model.depth for spec in draw_trials(SPACE, SHAPE, 60, EPOCHS, 0)[30:]]
    chosen = [spec.model.depth for spec in run(tmp_path, 60)[30:]]
    assert sum(chosen) / 30 > sum(by_chance) / 30 + 1


def ended(spec: TrialSpec, outcome: Any, *accuracies: float) -> TrialRecord:
    epochs = tuple(
        EpochRecord(number, {"val/accuracy": accuracy, "val/loss": 1.0})
        for number, accuracy in enumerate(accuracies, 1)
    )
    return TrialRecord(spec, outcome, epochs)


def test_whatever_has_happened_to_trials_the_next_is_found() -> None:
    space = SPACES["small"]
    specs = draw_trials(space, SHAPE, 15, 9, 0)
    outcomes: list[Any] = ["finished", "asha", "diverged", "failed", "interrupted"]
    records = [ended(spec, outcomes[spec.index % 5], *([0.1 * (spec.index % 7)] * (spec.index % 3))) for spec in specs]
    chosen = TpeSuggestions(space, SHAPE, 9, 0)(15, records)
    assert chosen.index == 15
    assert chosen == TpeSuggestions(space, SHAPE, 9, 0)(15, records)
    assert chosen.recipe.epochs == 9
    assert replace(chosen, index=0) not in specs
