"""The searches that the sweep is compared with find the trial that is best when each is trained alone."""

from collections.abc import Callable

import pytest

from benchmarks.sweep_rivals import Found, by_nesting, by_optuna, fit_of, specs


@pytest.mark.slow
@pytest.mark.parametrize("search", [by_optuna, by_nesting])
def test_the_best_of_the_drawn_trials_is_found(search: Callable[..., Found], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # as importing `pipeline.cluster` does
    found = search(seed=0, trials=3, epochs=1)
    accuracies = [fit_of(spec).run_epoch().validation.accuracy for spec in specs(0, trials=3, epochs=1)]
    assert (found.epochs, found.validation) == (3, max(accuracies))
    assert found.winner == specs(0, trials=3, epochs=1)[accuracies.index(max(accuracies))].to_dict()
