"""The search: Ray Tune runs the trials of a space, ASHA stops the weak ones at the end of an epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipeline.cluster import Allotment
from pipeline.exits import UsageError
from pipeline.ranking import EpochRecord, Outcome, TrialRecord
from pipeline.trial import ACCURACY, TrainingData, Trial, TrialContext
from tune_spaces.space import TrialSpec

RETRIES_AFTER_A_CRASH = 2


@dataclass(frozen=True)
class Rungs:
    """ASHA's ladder: at each of these epochs, one trial in `reduction_factor` goes on."""

    grace_epochs: int
    reduction_factor: int
    max_epochs: int

    @staticmethod
    def of(max_epochs: int, grace_epochs: int | None, reduction_factor: int) -> "Rungs":
        if grace_epochs is not None and grace_epochs > max_epochs:
            raise UsageError(f"--grace-epochs is {grace_epochs}, but must be at most the full length, {max_epochs}")
        return Rungs(grace_epochs or max(1, max_epochs // 12), reduction_factor, max_epochs)

    @property
    def epochs(self) -> list[int]:
        """The rungs below the full length, lowest first."""
        rungs, epoch = [], self.grace_epochs
        while epoch < self.max_epochs:
            rungs.append(epoch)
            epoch *= self.reduction_factor
        return rungs

    def expected_epochs(self, trials: int) -> float:
        """Epochs that this many trials take in all if exactly one in `reduction_factor` passes each rung."""
        total, alive, reached = 0.0, float(trials), 0
        for epoch in [*self.epochs, self.max_epochs]:
            total += alive * (epoch - reached)
            alive, reached = max(1.0, alive / self.reduction_factor), epoch
        return total


class SearchObserver(Protocol):
    """Told on the driver what happens to the trials; it must return at once."""

    def trial_started(self, spec: TrialSpec) -> None: ...

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None: ...

    def trial_ended(self, record: TrialRecord) -> None: ...


def run_search(
    specs: list[TrialSpec],
    data: TrainingData,
    context: TrialContext,
    rungs: Rungs,
    allotment: Allotment,
    tune_folder: str,
    observers: list[SearchObserver],
    interrupted: Callable[[], bool],
) -> list[TrialRecord]:
    """Runs the trials to their ends and gives their records, by index.

    Once `interrupted()` is true, no trial starts and the running ones stop at the end of their epoch.
    """
    here = _Here(observers, interrupted)
    asha = _Asha(rungs, here)
    events = _Events(specs, asha, here)
    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(Trial, data=data, context=context),
            tune.PlacementGroupFactory([{"CPU": allotment.cpus, "GPU": allotment.gpus}]),
        ),
        tune_config=tune.TuneConfig(
            search_alg=_InOrder(specs, here),
            scheduler=asha,
            metric=ACCURACY,
            mode="max",
            num_samples=-1,
            max_concurrent_trials=allotment.concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=tune_folder,
            verbose=0,
            callbacks=[events],
            failure_config=tune.FailureConfig(max_failures=RETRIES_AFTER_A_CRASH),
            # A trial keeps its own state in its own folder, written whole or not at all.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    ).fit()
    return events.records


class _Here:
    """What only this process has. Tune pickles its parts with all that they hold; of this, it gets nothing."""

    def __init__(self, observers: list[SearchObserver], interrupted: Callable[[], bool]) -> None:
        self.observers = observers
        self.interrupted = interrupted

    def __reduce__(self) -> tuple[Any, ...]:
        return _nowhere, ()


def _nowhere() -> _Here:
    return _Here([], lambda: False)


class _InOrder(Searcher):
    """Hands out the drawn trials one after another, as places become free."""

    def __init__(self, specs: list[TrialSpec], here: _Here) -> None:
        super().__init__(metric=ACCURACY, mode="max")
        self._waiting = list(reversed(specs))
        self._here = here

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if not self._waiting or self._here.interrupted():
            return Searcher.FINISHED
        return {"trial": self._waiting.pop().to_dict()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn: the trials are drawn beforehand."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the trials are drawn again from the seed."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _Asha(AsyncHyperBandScheduler):
    """ASHA (Li et al. 2020, arXiv:1810.05934) with one exception: trial 0, the baseline, runs to its full length.

    Its results stand on the rungs like any other's.
    """

    def __init__(self, rungs: Rungs, here: _Here) -> None:
        super().__init__(
            time_attr="epoch",
            max_t=rungs.max_epochs,
            grace_period=rungs.grace_epochs,
            reduction_factor=rungs.reduction_factor,
        )
        self._here = here
        self.reasons: dict[str, Outcome] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        action: str = super().on_trial_result(tune_controller, trial, result)
        if result.get("done"):
            return TrialScheduler.STOP
        if self._here.interrupted():
            self.reasons[trial.trial_id] = "interrupted"
            return TrialScheduler.STOP
        if action == TrialScheduler.STOP and trial.config["trial"]["index"] == 0:
            return TrialScheduler.CONTINUE
        if action == TrialScheduler.STOP:
            self.reasons[trial.trial_id] = "asha"
        return action


class _Events(tune.Callback):
    """Collects the trials' records and tells the observers, in the project's own terms."""

    def __init__(self, specs: list[TrialSpec], asha: _Asha, here: _Here) -> None:
        self._specs = specs
        self._asha = asha
        self._here = here
        self._epochs: dict[int, list[EpochRecord]] = {}
        self._diverged: dict[int, str] = {}
        self._ended: dict[int, TrialRecord] = {}

    @property
    def records(self) -> list[TrialRecord]:
        return [self._ended[index] for index in sorted(self._ended)]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        spec = self._spec(trial)
        if spec.index not in self._epochs:  # else it starts again after a crash
            self._epochs[spec.index] = []
            for observer in self._here.observers:
                observer.trial_started(spec)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        spec = self._spec(trial)
        if "diverged" in result:
            self._diverged[spec.index] = result["diverged"]
            return
        epoch, known = EpochRecord(result["epoch"], result["metrics"]), self._epochs[spec.index]
        if epoch.number <= len(known):
            return  # told again by the process that took the trial over
        known.append(epoch)
        for observer in self._here.observers:
            observer.epoch_done(spec, epoch)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        index = self._spec(trial).index
        if index in self._diverged:
            self._end(trial, "diverged", self._diverged[index])
        else:
            self._end(trial, self._asha.reasons.get(trial.trial_id, "finished"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.status == trial.ERROR:  # else it is tried again
            lines = [line for line in str(trial.get_error() or "").splitlines() if line.strip()]
            self._end(trial, "failed", lines[-1].strip() if lines else "the trial's process died")

    def _end(self, trial: Any, outcome: Outcome, error: str | None = None) -> None:
        spec = self._spec(trial)
        if spec.index in self._ended:
            return
        record = TrialRecord(spec, outcome, tuple(self._epochs.get(spec.index, ())), error)
        self._ended[spec.index] = record
        for observer in self._here.observers:
            observer.trial_ended(record)

    def _spec(self, trial: Any) -> TrialSpec:
        index: int = trial.config["trial"]["index"]
        return self._specs[index]
