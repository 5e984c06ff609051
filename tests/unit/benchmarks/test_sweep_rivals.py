"""The searches that the sweep is compared with come to what the same trainings come to by themselves."""

import pytest

from benchmarks.sweep_rivals import by_optuna, fit_of, specs


@pytest.mark.slow
def test_optuna_finds_the_best_of_the_drawn_trials() -> None:
    found = by_optuna(seed=0, trials=3, epochs=1)
    accuracies = [fit_of(spec).run_epoch().validation.accuracy for spec in specs(0, trials=3, epochs=1)]
    assert (found.epochs, found.validation) == (3, max(accuracies))
    assert found.winner == specs(0, trials=3, epochs=1)[accuracies.index(max(accuracies))].to_dict()
