"""Connects Ray Tune to the search driver, through a searcher, a scheduler, a callback and a stopper.

Tune asks them which trial is next and whether it continues, and tells them what happens to it; all of them pass this on
to the driver.
"""

from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipeline.search.driver import SearchDriver
from pipeline.search.reports import ACCURACY, death_text


class InOrderSearcher(Searcher):
    """Hands out the trials one after another, as slots become free."""

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__(metric=ACCURACY, mode="max")
        self._driver = driver
        self._handed_out: set[str] = set()
        """Tune's IDs of the trials that hold a slot."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if self._driver.has_no_more_trials:
            return Searcher.FINISHED
        if len(self._handed_out) >= self._driver.slots:
            return None  # Tune asks again soon
        self._handed_out.add(trial_id)
        return {"trial": self._driver.next_trial().to_dict()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Frees the trial's slot. There is nothing to learn here: the driver already knows the result."""
        self._handed_out.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the trials' folders hold the whole state."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: nothing was saved."""


class AshaScheduler(FIFOScheduler):
    """Stops the trials that the driver decides to stop; trials start in the order in which they were handed out."""

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = self._driver.goes_on(_index(trial), result)
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP


class TrialEvents(tune.Callback):
    """Tells the driver what happens to the trials."""

    def __init__(self, driver: SearchDriver) -> None:
        self._driver = driver
        self.running: set[int] = set()
        """The indices of the trials whose process is running."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.add(_index(trial))
        self._driver.begin(_index(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._driver.note_report(_index(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.discard(_index(trial))
        self._driver.end(_index(trial))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called when a trial's process has died and the trial waits for another one."""
        self.running.discard(_index(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.discard(_index(trial))
        if trial.status == trial.ERROR:  # otherwise Tune retries it
            self._driver.fail(_index(trial), death_text(trial.get_error()))


class StopsOnceNothingRuns(tune.Stopper):
    """Ends a stopping search without waiting for processes that have not started: there may never be room for them."""

    def __init__(self, driver: SearchDriver, events: TrialEvents) -> None:
        self._driver, self._events = driver, events

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False  # the scheduler decides on the trials that run

    def stop_all(self) -> bool:
        """Called by Tune again and again, also while no trial runs."""
        return self._driver.stopping and not self._events.running


def _index(trial: Any) -> int:
    """The index in the search of one of Tune's trials."""
    index: int = trial.config["trial"]["index"]
    return index
