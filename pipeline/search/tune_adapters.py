"""What Ray Tune asks: which trial is next, whether it goes on, what happened to it. Each part asks the driver."""

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
        """Tune's names of the trials that hold a slot."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if self._driver.has_no_more_trials:
            return Searcher.FINISHED
        if len(self._handed_out) >= self._driver.slots:
            return None  # asked again soon
        self._handed_out.add(trial_id)
        return {"trial": self._driver.next_trial().to_dict()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn: the driver knows what came of it. Its slot is free."""
        self._handed_out.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the trials' folders tell all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class AshaScheduler(FIFOScheduler):
    """Stops the trials that the driver says; they run in the order in which they were handed out."""

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
        """The trials whose process is up."""

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
        """Its process died, and it waits for another."""
        self.running.discard(_index(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.discard(_index(trial))
        if trial.status == trial.ERROR:  # else it is tried again
            self._driver.fail(_index(trial), death_text(trial.get_error()))


class EndsWithWhatRuns(tune.Stopper):
    """Lets nobody who wants to stop wait for processes that have not come up: there may never be room for them."""

    def __init__(self, driver: SearchDriver, events: TrialEvents) -> None:
        self._driver, self._events = driver, events

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False  # of those that run, the scheduler decides

    def stop_all(self) -> bool:
        """Asked again and again, also while no trial runs."""
        return self._driver.stopping and not self._events.running


def _index(trial: Any) -> int:
    """The trial's number in the search, of Tune's trial."""
    index: int = trial.config["trial"]["index"]
    return index
