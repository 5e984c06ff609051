"""The searches that `benchmarks.sweep_wall` compares the sweep with: Optuna in plain processes, and Ray's nesting.

They are a module of their own, since the processes that run these functions have to import them.
"""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from tune_spaces.catalogue import SPACES
from tune_spaces.space import draw_trials
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import DataConfig, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.training.fit import Fit, NonFiniteLossError
from vit.training.runtime import Runtime, Split

TRIALS = 32
SPACE = SPACES["small"]
EPOCHS = SPACE.max_epochs
GRACE, FACTOR = 3, 3
"""The settings of ASHA in `pipeline.sweep` for this space."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    seconds: float
    epochs: int
    validation: float
    """The best validation accuracy in the search, as a fraction."""
    winner: dict[str, Any]
    """The best trial's `TrialSpec`, as plain values."""


def fit_of(spec: TrialSpec) -> Fit:
    """A training on digits with one thread, as in a trial with one core."""
    torch.set_num_threads(1)
    dataset = load_dataset(DataConfig("digits"))
    train, validation = Split.of(dataset.train, CPU), Split.of(dataset.validation, CPU)
    normalisation = measure_normalisation(dataset.train.images)
    return Fit(spec.model, spec.recipe, Runtime(CPU), train, validation, normalisation, spec.seed)


def specs(seed: int, trials: int = TRIALS, epochs: int = EPOCHS) -> list[TrialSpec]:
    return draw_trials(SPACE, load_dataset(DataConfig("digits")).shape, trials, epochs, seed)


def by_optuna(seed: int, trials: int = TRIALS, epochs: int = EPOCHS) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        started = time.perf_counter()
        drawn = specs(seed, trials, epochs)
        # Each worker takes half of the drawn trials, so that all ways try the same ones.
        workers = [context.Process(target=_optuna_worker, args=(folder, seed, drawn[rank::2])) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - started
        ended = [trial for trial in _study(folder, seed).trials if trial.intermediate_values]
    num_epochs = sum(len(trial.intermediate_values) for trial in ended)
    best = max(ended, key=_best_value)
    return Found(seconds, num_epochs, _best_value(best), best.user_attrs["spec"])


def _study(folder: str, seed: int) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(f"{folder}/journal.log"))
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=GRACE, reduction_factor=FACTOR)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    return optuna.create_study(
        study_name="digits", storage=storage, pruner=pruner, sampler=sampler, direction="maximize", load_if_exists=True
    )


def _optuna_worker(folder: str, seed: int, own: list[TrialSpec]) -> None:
    import optuna

    def objective(trial: Any) -> float:
        spec = next(remaining)
        trial.set_user_attr("spec", spec.to_dict())
        fit, best = fit_of(spec), 0.0
        while fit.epochs_done < spec.recipe.epochs:
            try:
                accuracy = fit.run_epoch().validation.accuracy
            except NonFiniteLossError as error:
                raise optuna.TrialPruned from error
            best = max(best, accuracy)
            trial.report(accuracy, fit.epochs_done)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    remaining = iter(own)
    _study(folder, seed).optimize(objective, n_trials=len(own))


def _best_value(trial: Any) -> float:
    return float(max(trial.intermediate_values.values()))


def by_nesting(seed: int, trials: int, epochs: int = EPOCHS) -> Found:
    """Searches in a process of its own, which starts Ray and stops it; the error of a trial that failed is raised."""
    drawn = specs(seed, trials, epochs)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=context) as pool:
        started = time.perf_counter()
        last_reports = pool.submit(_nested, folder, drawn).result()
        seconds = time.perf_counter() - started
    winner = max(last_reports, key=lambda report: report["best"])
    num_epochs = sum(report["epoch"] for report in last_reports)
    return Found(seconds, num_epochs, winner["best"], drawn[winner["index"]].to_dict())


def _nested(folder: str, drawn: list[TrialSpec]) -> list[dict[str, Any]]:
    """Runs the search, and returns the last report of each trial."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    length = drawn[0].recipe.epochs
    tuner = tune.Tuner(
        tune.with_resources(_nested_trial, {"CPU": 0.5}),
        param_space={"spec": tune.grid_search([spec.to_dict() for spec in drawn]), "folder": folder},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            scheduler=ASHAScheduler(
                time_attr="epoch", max_t=length, grace_period=min(GRACE, length), reduction_factor=FACTOR
            ),
            max_concurrent_trials=2,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=folder, verbose=0),
    )
    with ray.init(address="local", num_cpus=4, log_to_driver=False):  # two trials, each with a worker and a driver
        grid = tuner.fit()
    if grid.errors:
        raise RuntimeError(f"{len(grid.errors)} of {len(grid)} trials failed, the first: {grid.errors[0]}")
    return [dict(grid[place].metrics or {}) for place in range(len(grid))]


def _nested_trial(config: dict[str, Any]) -> None:
    from ray import train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    trainer = TorchTrainer(
        _nested_loop,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=train.RunConfig(
            name=f"train-{config['spec']['index']}",
            storage_path=config["folder"],
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]
        ),
    )
    trainer.fit()


def _nested_loop(config: dict[str, Any]) -> None:
    from ray import train

    spec = TrialSpec.from_dict(config["spec"])
    fit, best = fit_of(spec), 0.0
    while fit.epochs_done < spec.recipe.epochs:
        accuracy = fit.run_epoch().validation.accuracy
        best = max(best, accuracy)
        # Reports all that is needed at the end: Tune's own record of all reports is off once `pipeline` is imported.
        train.report({"index": spec.index, "accuracy": accuracy, "best": best, "epoch": fit.epochs_done})
