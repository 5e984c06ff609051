"""Claim: the sweep finds as good a model as training every trial to the end does, in a fraction of the time.

Beside it, the ways that a user would take otherwise. On digits, with the same space, seeds and loop in each:

- `sweep`: `pipeline.sweep` as it comes, 32 trials.
- `full grid`: the same command with every trial at full length (a grace period as long as a trial).
- `nested`: Ray's documented nesting: Tune around a function that starts a `TorchTrainer` of its own for each trial,
  under Ray's own ASHA. Starting the workers takes so long that it gets `--nested-trials` (4) trials only.
- `optuna`: Optuna's `SuccessiveHalvingPruner` over the loop in two plain processes, which share a journal file.

Each is told by the wall time of its search, the epochs it trained, and the best validation accuracy that it found; the
winner is then trained anew with two seeds, as `confirm` does, and measured on the test images, outside of that time.

    python -m benchmarks.sweep_wall [--seeds 3] [--ways sweep optuna] [--json FILE]
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine_line
from tune_spaces.catalogue import SPACES
from tune_spaces.space import draw_trials
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.training.evaluation import evaluate
from vit.training.fit import Fit, NonFiniteLossError
from vit.training.runtime import Runtime, Split

TRIALS = 32
SPACE = SPACES["small"]
EPOCHS = SPACE.max_epochs
GRACE, FACTOR = 3, 3
"""ASHA's in `pipeline.sweep` for this space."""
CPU = torch.device("cpu")
CONFIRMED_SEEDS = 2


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    seconds: float
    epochs: int
    validation: float
    """Best accuracy in the search: a fraction."""
    winner: dict[str, Any]
    """The best trial's `TrialSpec`, as plain values."""


def splits() -> tuple[Dataset, Split, Split]:
    dataset = load_dataset(DataConfig("digits"))
    return dataset, Split.of(dataset.train, CPU), Split.of(dataset.validation, CPU)


def fit_of(spec: TrialSpec) -> Fit:
    torch.set_num_threads(1)  # as a trial of one core has it
    dataset, train, validation = splits()
    normalisation = measure_normalisation(dataset.train.images)
    return Fit(spec.model, spec.recipe, Runtime(CPU), train, validation, normalisation, spec.seed)


def specs(seed: int) -> list[TrialSpec]:
    return draw_trials(SPACE, load_dataset(DataConfig("digits")).shape, TRIALS, EPOCHS, seed)


def by_sweep(seed: int, *flags: str) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline.sweep", "--dataset", "digits", "--trials", str(TRIALS)]
        command += ["--seed", str(seed), "--until", "search", "--precision", "fp32", "--json", "result.json", *flags]
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        result = json.loads((Path(folder) / "result.json").read_text())
    best = result["leaderboard"][0]
    return Found(seconds, result["asha"]["epochs"], best["val_accuracy"], specs(seed)[best["trial"]].to_dict())


def by_full_grid(seed: int) -> Found:
    return by_sweep(seed, "--grace-epochs", str(EPOCHS))


def by_optuna(seed: int) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        started = time.perf_counter()
        workers = [context.Process(target=_optuna_worker, args=(folder, seed, rank)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - started
        study = _study(folder, seed)
    epochs = sum(len(trial.intermediate_values) for trial in study.trials)
    best = max((trial for trial in study.trials if trial.intermediate_values), key=_best_value)
    return Found(seconds, epochs, _best_value(best), best.user_attrs["spec"])


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


def _optuna_worker(folder: str, seed: int, rank: int) -> None:
    """Half of the trials: the drawn ones, so that all ways try the same."""
    import optuna

    def objective(trial: Any) -> float:
        spec = next(remaining)
        trial.set_user_attr("spec", spec.to_dict())
        fit, best = fit_of(spec), 0.0
        while fit.epochs_done < EPOCHS:
            try:
                accuracy = fit.run_epoch().validation.accuracy
            except NonFiniteLossError as error:
                raise optuna.TrialPruned from error
            best = max(best, accuracy)
            trial.report(accuracy, fit.epochs_done)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    own = specs(seed)[rank::2]
    remaining = iter(own)
    _study(folder, seed).optimize(objective, n_trials=len(own))


def _best_value(trial: Any) -> float:
    return float(max(trial.intermediate_values.values()))


def by_nesting(seed: int, trials: int) -> Found:
    """In a process of its own, which starts a Ray and ends it."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        started = time.perf_counter()
        worker = context.Process(target=_nested, args=(folder, seed, trials))
        worker.start()
        worker.join()
        seconds = time.perf_counter() - started
        result = json.loads((Path(folder) / "result.json").read_text())
    return Found(seconds, result["epochs"], result["validation"], specs(seed)[result["trial"]].to_dict())


def _nested(folder: str, seed: int, trials: int) -> None:
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    ray.init(address="local", num_cpus=4, log_to_driver=False)  # two trials, each with a worker, and their drivers
    drawn = [spec.to_dict() for spec in specs(seed)[:trials]]
    tuner = tune.Tuner(
        tune.with_resources(_nested_trial, {"CPU": 0.5}),
        param_space={"spec": tune.grid_search(drawn), "folder": folder},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            scheduler=ASHAScheduler(time_attr="epoch", max_t=EPOCHS, grace_period=GRACE, reduction_factor=FACTOR),
            max_concurrent_trials=2,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=folder, verbose=0),
    )
    grid = tuner.fit()
    accuracies: dict[int, list[float]] = {}
    for result in (grid[place] for place in range(len(grid))):
        assert result.config is not None and result.metrics_dataframe is not None
        accuracies[result.config["spec"]["index"]] = result.metrics_dataframe["accuracy"].tolist()
    index = max(accuracies, key=lambda each: max(accuracies[each]))
    epochs = sum(map(len, accuracies.values()))
    summary = {"trial": index, "validation": max(accuracies[index]), "epochs": epochs}
    Path(folder, "result.json").write_text(json.dumps(summary))
    ray.shutdown()


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

    fit = fit_of(TrialSpec.from_dict(config["spec"]))
    while fit.epochs_done < EPOCHS:
        accuracy = fit.run_epoch().validation.accuracy
        train.report({"accuracy": accuracy, "epoch": fit.epochs_done})


def confirmed_test(winner: dict[str, Any]) -> float:
    """The winner's test accuracy, trained anew; the mean over the seeds."""
    spec, test = TrialSpec.from_dict(winner), Split.of(load_dataset(DataConfig("digits")).test, CPU)
    accuracies = []
    for seed in range(CONFIRMED_SEEDS):
        fit = fit_of(replace(spec, seed=1000 + seed))
        normalisation = measure_normalisation(load_dataset(DataConfig("digits")).train.images)
        best, kept = -1.0, 0.0
        while fit.epochs_done < EPOCHS:
            epoch = fit.run_epoch()
            if epoch.validation.accuracy > best:
                best = epoch.validation.accuracy
                kept = evaluate(fit.kept_model, test, normalisation, Runtime(CPU)).accuracy
        accuracies.append(kept)
    return statistics.mean(accuracies)


def table(results: dict[str, list[tuple[Found, float]]]) -> str:
    lines = ["| way | seconds, by seed | epochs | best validation | test, confirmed |", "|---|---|---|---|---|"]
    for way, rounds in results.items():
        founds = [found for found, _ in rounds]
        seconds = ", ".join(f"{found.seconds:.0f}" for found in founds)
        epochs = ", ".join(str(found.epochs) for found in founds)
        validation = ", ".join(f"{found.validation:.2%}" for found in founds)
        tests = [test for _, test in rounds]
        spread = f" ± {100 * statistics.stdev(tests):.2f}" if len(tests) > 1 else ""
        lines.append(f"| {way} | {seconds} | {epochs} | {validation} | {statistics.mean(tests):.2%}{spread} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nested-trials", type=int, default=4)
    parser.add_argument("--ways", nargs="+", default=["sweep", "full grid", "nested", "optuna"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    arguments = parser.parse_args()
    ways: dict[str, Callable[[int], Found]] = {
        "sweep": by_sweep,
        "full grid": by_full_grid,
        "nested": lambda seed: by_nesting(seed, arguments.nested_trials),
        "optuna": by_optuna,
    }
    print(machine_line(), flush=True)
    results: dict[str, list[tuple[Found, float]]] = {}
    for seed in range(arguments.seeds):
        for way in arguments.ways:
            found = ways[way](seed)
            results.setdefault(way, []).append((found, confirmed_test(found.winner)))
            print(
                f"seed {seed}, {way}: {found.seconds:.0f} s, {found.epochs} epochs, {found.validation:.2%}", flush=True
            )
    print(table(results))
    if arguments.json:
        plain = {way: [{**asdict(found), "test": test} for found, test in rounds] for way, rounds in results.items()}
        arguments.json.write_text(json.dumps(plain, indent=2) + "\n")


if __name__ == "__main__":
    main()
