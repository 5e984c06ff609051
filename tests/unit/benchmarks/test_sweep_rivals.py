"""The searches that the sweep is compared with find the trial that is best when each is trained alone."""

from collections.abc import Callable

import pytest

from benchmarks.sweep_rivals import Found, by_nesting, by_optuna, fit_of, specs


@pytest.mark.slow
@pytest.mark.parametrize(("search", "trials"), [(by_optuna, 3), (by_nesting, 2)])
def test_the_best_of_the_drawn_trials_is_found(
    search: Callable[..., Found], trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # as importing `pipeline.cluster` does
    found, drawn = search(seed=0, trials=trials, epochs=1), specs(0, trials, epochs=1)
    accuracies = [fit_of(spec).run_epoch().validation.accuracy for spec in drawn]
    assert (found.epochs, found.validation) == (trials, max(accuracies))
    assert found.winner == drawn[accuracies.index(max(accuracies))].to_dict()
