"""Runs a search: on Ray Tune, unless some of its trials are worth fusing."""

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from ray import tune

from pipeline.errors import PipelineError
from pipeline.search.distributed_trial import DistributedTrial
from pipeline.search.driver import SearchDriver, SearchLimits
from pipeline.search.fused_search import FusedSearch
from pipeline.search.search import Search
from pipeline.search.trial import Trial
from pipeline.search.tune_adapters import AshaScheduler, InOrderSearcher, StopsOnceNothingRuns, TrialEvents
from pipeline.training.worker_group import WorkerGroupConfig
from pipeline.trials.ledger import Ledger
from pipeline.trials.observers import Observer
from pipeline.trials.records import TrialRecord
from vit.files.storage import Folder

# Tune's own state is not used, since the trials' folders hold everything: the user need not know if saving it fails.
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)


def run_search(
    search: Search, observers: list[Observer], interrupted: Callable[[], bool], limits: SearchLimits | None = None
) -> list[TrialRecord]:
    """Runs the trials to their ends and returns their records, sorted by index.

    Resumes from what an earlier driver left in the trials' folders: trials that have ended are not run again, those
    that were running continue after their last epoch, and ASHA's decisions are kept.
    Once `interrupted()` is true, no trial starts and the running ones stop at the end of their epoch. Without
    `limits`, as many trials run at the same time as the allotment says.

    Raises:
        PipelineError: the disk is full or the storage is away; what was saved is still there.
    """
    ledger = Ledger(search.context.folder, search.specs, fixed=search.suggest is None)
    limits = limits or SearchLimits(lambda: search.allotment.concurrent)
    driver = SearchDriver(search.specs, search.rungs, ledger, observers, limits, interrupted, search.suggest)
    driver.announce_restored()
    if len(driver.records) < len(search.specs):
        try:
            _run_all(search, driver)
        finally:
            with contextlib.suppress(OSError):
                _remove_folder(search.tune_folder)  # the trials' folders hold everything of use
    if driver.storage_failure is not None:
        raise PipelineError(driver.storage_failure)
    return driver.records


def _run_all(search: Search, driver: SearchDriver) -> None:
    if search.fusing is not None:
        FusedSearch(search, driver).run(search.fusing)
    if not driver.has_no_more_trials:
        _tuner(search, driver).fit()
    driver.end_the_rest()


def _tuner(search: Search, driver: SearchDriver) -> tune.Tuner:
    parent, _, name = search.tune_folder.rpartition("/")
    events = TrialEvents(driver)
    return tune.Tuner(
        _trainable(search),
        tune_config=tune.TuneConfig(
            search_alg=InOrderSearcher(driver),
            scheduler=AshaScheduler(driver),
            num_samples=-1,
            max_concurrent_trials=search.allotment.concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=parent,
            verbose=0,
            callbacks=[events],
            stop=StopsOnceNothingRuns(driver, events),
            failure_config=tune.FailureConfig(max_failures=search.max_failures),
            # A trial keeps its own state in its own folder, written whole or not at all.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )


def _trainable(search: Search) -> Any:
    """The class that runs a trial, with its parameters and resources."""
    allotment = search.allotment
    if allotment.workers == 1:
        return tune.with_resources(
            tune.with_parameters(Trial, data=search.data, context=search.context),
            tune.PlacementGroupFactory([{"CPU": allotment.cpus, "GPU": allotment.gpus}]),
        )
    count = allotment.workers
    # Ray Train does not restart lost workers: Tune, which counts a trial's failures, restarts the trial.
    group = WorkerGroupConfig(count, count, allotment.cpus, allotment.gpus, search.ray_train_folder, max_failures=0)
    parameters = {"context": search.context, "group": group, "rungs": search.rungs}
    # Ray Train places the workers. The trial's own actor does no work, and takes one byte of memory only because Tune
    # requires a resource.
    return tune.with_resources(
        tune.with_parameters(DistributedTrial, data=search.data, **parameters),
        tune.PlacementGroupFactory([{"memory": 1}]),
    )


def _remove_folder(uri: str) -> None:
    parent, _, name = uri.rpartition("/")
    Folder(parent).remove_folder(name)
