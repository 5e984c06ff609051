"""The search: Ray Tune runs the trials of a space, ASHA stops the weak ones at the end of an epoch."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipeline.cluster import Allotment
from pipeline.ddp import SharedData, Team
from pipeline.exits import PipelineError, disk_full
from pipeline.ranking import EpochRecord, Outcome, TrialRecord
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.rungs import Decision, Rungs
from pipeline.trials.team_trial import TeamTrial
from pipeline.trials.training import TrainingContext, TrainingData
from pipeline.trials.trial import ACCURACY, Trial
from tune_spaces.space import TrialSpec
from vit.storage import Folder

TUNE_FOLDER = "tune"

# Tune's own state is of no use here: the trials' folders tell all. Where it cannot be saved, that need not be told.
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Search:
    """What a search consists of."""

    specs: list[TrialSpec]
    data: TrainingData
    context: TrainingContext
    rungs: Rungs
    allotment: Allotment
    folder: str
    """The command's; Tune and Ray Train keep files of their own there while they run."""
    max_failures: int = 2
    """How often a trial whose process died is taken up again."""


@dataclass(frozen=True)
class Limits:
    """What holds a search back, asked whenever a trial might begin."""

    places: Callable[[], int]
    """How many trials may run at once; at least one."""
    may_begin: Callable[[], bool] = lambda: True
    """Whether any more may begin at all; once it is false, the search ends with the trials that run."""


def run_search(
    search: Search, observers: list[Observer], interrupted: Callable[[], bool], limits: Limits | None = None
) -> list[TrialRecord]:
    """Runs the trials to their ends and gives their records, by index.

    Goes on from what an earlier driver left in the trials' folders: what has ended is not run again, what was
    running starts from its last epoch, and ASHA's decisions stand.
    Once `interrupted()` is true, no trial starts and the running ones stop at the end of their epoch. Without
    `limits`, as many run at once as the allotment says.

    Raises:
        PipelineError: the disk is full; what was saved stands.
    """
    ledger = Ledger(search.context.folder, search.specs)
    limits = limits or Limits(lambda: search.allotment.concurrent)
    here = _Here(observers, interrupted, limits, ledger)
    for record in ledger.ended.values():
        for observer in observers:
            observer.trial_restored(record)
    waiting = [spec for spec in search.specs if spec.index not in ledger.ended]
    if not waiting:
        return list(ledger.ended.values())
    asha = _Asha(search.rungs, here)
    asha.replay(ledger)
    events = _Events(search.specs, asha, here, ledger.ended)
    try:
        _tuner(search, _InOrder(waiting, here), asha, events).fit()
    finally:
        with contextlib.suppress(OSError):
            Folder(search.folder).remove_folder(TUNE_FOLDER)  # the trials' folders tell all that is worth knowing
    if here.disk_full is not None:
        raise PipelineError(here.disk_full)
    return events.records


def _tuner(search: Search, searcher: Searcher, scheduler: TrialScheduler, events: tune.Callback) -> tune.Tuner:
    return tune.Tuner(
        _trainable(search),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=search.allotment.concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=TUNE_FOLDER,
            storage_path=search.folder,
            verbose=0,
            callbacks=[events],
            failure_config=tune.FailureConfig(max_failures=search.max_failures),
            # A trial keeps its own state in its own folder, written whole or not at all.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )


def _trainable(search: Search) -> Any:
    """The class that runs a trial, with what it needs."""
    allotment = search.allotment
    if allotment.workers == 1:
        return tune.with_resources(
            tune.with_parameters(Trial, data=search.data, context=search.context),
            tune.PlacementGroupFactory([{"CPU": allotment.cpus, "GPU": allotment.gpus}]),
        )
    count = allotment.workers
    # Tune, which counts a trial's failures, takes up what lost a worker.
    team = Team(count, count, allotment.cpus, allotment.gpus, search.folder, max_failures=0)
    parameters = {"context": search.context, "team": team, "rungs": search.rungs}
    # The trial's own actor only looks on, and takes a byte, since Tune wants a resource: Ray Train places the workers.
    return tune.with_resources(
        tune.with_parameters(TeamTrial, data=SharedData.put(search.data), **parameters),
        tune.PlacementGroupFactory([{"memory": 1}]),
    )


class _Here:
    """What only this process has. Tune pickles its parts with all that they hold; of this, it gets nothing."""

    def __init__(
        self,
        observers: list[Observer],
        interrupted: Callable[[], bool],
        limits: Limits,
        ledger: Ledger | None,
    ) -> None:
        self.observers = observers
        self.limits = limits
        self.ledger = ledger
        self.disk_full: str | None = None
        """What to tell the user of it."""
        self._interrupted = interrupted

    def stopping(self) -> bool:
        return self.disk_full is not None or self._interrupted()

    def write(self, change: Callable[[Ledger], object]) -> bool:
        """Changes the ledger, or says that it could not: where the disk is full, the search comes to an orderly end."""
        assert self.ledger is not None  # it is only missing from what was pickled
        try:
            change(self.ledger)
        except OSError as error:
            full = disk_full(error)
            if full is None:
                raise
            self.disk_full = self.disk_full or full
            return False
        return True

    def decisions(self, index: int) -> tuple[Decision, ...]:
        """ASHA's of a trial so far."""
        assert self.ledger is not None  # it is only missing from what was pickled
        return self.ledger.decisions(index)

    def __reduce__(self) -> tuple[Any, ...]:
        return _nowhere, ()


def _nowhere() -> _Here:
    return _Here([], lambda: False, Limits(lambda: 1), None)


class _InOrder(Searcher):
    """Hands out the drawn trials one after another, as places become free."""

    def __init__(self, specs: list[TrialSpec], here: _Here) -> None:
        super().__init__(metric=ACCURACY, mode="max")
        self._waiting = list(reversed(specs))
        self._running: set[str] = set()
        self._here = here

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        limits = self._here.limits
        if not self._waiting or self._here.stopping() or not limits.may_begin():
            return Searcher.FINISHED
        if len(self._running) >= limits.places():
            return None  # asked again soon
        self._running.add(trial_id)
        return {"trial": self._waiting.pop().to_dict()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn: the trials are drawn beforehand. Its place is free."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the trials are drawn again from the seed."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _Asha(AsyncHyperBandScheduler):
    """ASHA (Li et al. 2020, arXiv:1810.05934) with one exception: trial 0, the baseline, runs to its full length.

    Its results stand on the rungs like any other's. To the rungs a trial is its index, and each decision is written
    down before it takes effect: so they outlive the process.
    """

    def __init__(self, rungs: Rungs, here: _Here) -> None:
        super().__init__(
            time_attr="epoch",
            metric=ACCURACY,
            mode="max",
            max_t=rungs.max_epochs,
            grace_period=rungs.grace_epochs,
            reduction_factor=rungs.reduction_factor,
        )
        self._rung_epochs = rungs.epochs
        self._here = here
        self._decided: dict[tuple[int, int], bool] = {}
        self.reasons: dict[str, Outcome] = {}

    def replay(self, ledger: Ledger) -> None:
        """Puts an earlier driver's results on the rungs, and keeps to its decisions."""
        for index in ledger.begun:
            for decision in ledger.decisions(index):
                self._judge(index, decision.epoch, decision.accuracy)
                self._decided[index, decision.epoch] = decision.go_on

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Nothing to prepare: a trial is entered when it reaches its first rung."""

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing to enter: its results stand on the rungs already."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing to remove: what it reached, it reached."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        go_on = self._goes_on(trial.config["trial"]["index"], result)
        if result.get("done"):
            return TrialScheduler.STOP
        if self._here.stopping():
            self.reasons[trial.trial_id] = "interrupted"
            return TrialScheduler.STOP
        if go_on:
            return TrialScheduler.CONTINUE
        self.reasons[trial.trial_id] = "asha"
        return TrialScheduler.STOP

    def _goes_on(self, index: int, result: dict[str, Any]) -> bool:
        epoch, accuracy = result["epoch"], result[ACCURACY]
        if epoch not in self._rung_epochs or result.get("ended", {}).get("outcome") in ("failed", "interrupted"):
            return True
        if (index, epoch) not in self._decided:
            decision = self._decide(index, epoch, accuracy)
            self._decided[index, epoch] = decision.go_on
            self._here.write(lambda ledger: ledger.decided(index, decision))
        return self._decided[index, epoch]

    def _decide(self, index: int, epoch: int, accuracy: float) -> Decision:
        rung = self._rung(epoch)
        cutoff: Any = self._brackets[0].cutoff(rung)  # of those before it
        passes = self._judge(index, epoch, accuracy)
        better = sum(value > accuracy for value in rung.values())
        known = None if cutoff is None else float(cutoff)
        return Decision(epoch, accuracy, known, rank=better + 1, of=len(rung), go_on=passes or index == 0)

    def _rung(self, epoch: int) -> dict[int, float]:
        """The accuracies of the trials that have reached a rung, by index."""
        rungs: Any = self._brackets[0]._rungs
        found: dict[int, float] = next(recorded for milestone, recorded in rungs if milestone == epoch)
        return found

    def _judge(self, index: int, epoch: int, accuracy: float) -> bool:
        """Enters a result at its rung; says whether it passes."""
        trial: Any = SimpleNamespace(trial_id=index)
        if index not in self._trial_info:
            super().on_trial_add(None, trial)  # type: ignore[arg-type]
        action = super().on_trial_result(None, trial, {"epoch": epoch, ACCURACY: accuracy})  # type: ignore[arg-type]
        return bool(action == TrialScheduler.CONTINUE)


class _Events(tune.Callback):
    """Collects the trials' records and tells the observers, in the project's own terms."""

    def __init__(self, specs: list[TrialSpec], asha: _Asha, here: _Here, ended: dict[int, TrialRecord]) -> None:
        self._specs = {spec.index: spec for spec in specs}
        self._asha = asha
        self._here = here
        self._epochs: dict[int, list[EpochRecord]] = {}
        self._refused: set[str] = set()
        self._endings: dict[int, dict[str, Any]] = {}
        self._ended = dict(ended)

    @property
    def records(self) -> list[TrialRecord]:
        return [self._ended[index] for index in sorted(self._ended)]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._begin(self._spec(trial))

    def _begin(self, spec: TrialSpec) -> None:
        if spec.index in self._epochs:
            return  # it starts again after a crash
        self._epochs[spec.index] = []
        self._here.write(lambda ledger: ledger.started(spec))
        for observer in self._here.observers:
            observer.trial_started(spec)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        spec = self._spec(trial)
        if "ended" in result:
            self._endings[spec.index] = result["ended"]
            return
        for reason in result["refused"]:
            if reason in self._refused:
                continue
            self._refused.add(reason)
            for observer in self._here.observers:
                observer.checkpoint_refused(spec, reason)
        epoch, known = EpochRecord.of(result), self._epochs[spec.index]
        if epoch.number <= len(known):
            return  # told again by the process that took the trial over
        known.append(epoch)
        for observer in self._here.observers:
            observer.epoch_done(spec, epoch)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ending = self._endings.get(self._spec(trial).index)
        if ending is None:
            self._end(trial, self._asha.reasons.get(trial.trial_id, "finished"))
        elif ending["outcome"] == "interrupted":
            self._here.disk_full = self._here.disk_full or ending["error"]
            self._end(trial, "interrupted")
        else:
            self._end(trial, ending["outcome"], ending["error"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.status == trial.ERROR:  # else it is tried again
            lines = [line for line in str(trial.get_error() or "").splitlines() if line.strip()]
            self._end(trial, "failed", lines[-1].strip() if lines else "the trial's process died")

    def _end(self, trial: Any, outcome: Outcome, error: str | None = None) -> None:
        spec = self._spec(trial)
        if spec.index in self._ended:
            return
        self._begin(spec)  # its process may never have come up
        record = TrialRecord(spec, outcome, tuple(self._epochs[spec.index]), error, self._here.decisions(spec.index))
        if not self._here.write(lambda ledger: ledger.end(record)):
            record = replace(record, outcome="interrupted", error=None)  # the next driver will not know of its end
        self._ended[spec.index] = record
        for observer in self._here.observers:
            observer.trial_ended(record)

    def _spec(self, trial: Any) -> TrialSpec:
        return self._specs[trial.config["trial"]["index"]]
