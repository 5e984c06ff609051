"""Claim: the sweep finds as good a model as training every trial to the end does, in a fraction of the time.

It is also compared with other ways that a user could take. All run on digits, with the same space, seeds and loop:

- `sweep`: `pipeline.sweep` with its usual grace period, 32 trials.
- `full grid`: the same command with every trial at full length (a grace period as long as a trial).
- `nested`: Ray's documented nesting: Tune around a function that starts a `TorchTrainer` of its own for each trial,
  under Ray's own ASHA. Starting the workers takes so long that it runs only `--nested-trials` (4) trials.
- `optuna`: Optuna's `SuccessiveHalvingPruner` over the loop in two plain processes, which share a journal file.

For each way, the table shows the wall time of its search, the epochs that it trained, and the best validation accuracy
that it found. The winner is then retrained with two seeds, as `confirm` does, and measured on the test images; the time
for that is not counted. Finished searches are kept in the JSON file, with the machine, and are not repeated.

    python -m benchmarks.sweep_wall [--seeds 3] [--ways sweep optuna] --json FILE
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.kept_results import kept_results
from benchmarks.machine import machine_line
from benchmarks.sweep_rivals import CPU, EPOCHS, TRIALS, Found, by_nesting, by_optuna, fit_of, specs
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import DataConfig, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.training.evaluation import evaluate
from vit.training.runtime import Runtime, Split

CONFIRMED_SEEDS = 2


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


def confirmed_test(winner: dict[str, Any]) -> float:
    """The winner's test accuracy when retrained, as the mean over the seeds, which are trained side by side."""
    with ProcessPoolExecutor(CONFIRMED_SEEDS, mp_context=get_context("spawn")) as pool:
        return statistics.mean(pool.map(retrained_test, [winner] * CONFIRMED_SEEDS, range(CONFIRMED_SEEDS)))


def retrained_test(winner: dict[str, Any], seed: int) -> float:
    """The winner's test accuracy when retrained with another seed, of the weights that are best on validation."""
    spec, dataset = TrialSpec.from_dict(winner), load_dataset(DataConfig("digits"))
    fit, test = fit_of(replace(spec, seed=1000 + seed)), Split.of(dataset.test, CPU)
    normalisation = measure_normalisation(dataset.train.images)
    best, kept = -1.0, 0.0
    while fit.epochs_done < EPOCHS:
        epoch = fit.run_epoch()
        if epoch.validation.accuracy > best:
            best = epoch.validation.accuracy
            kept = evaluate(fit.kept_model, test, normalisation, Runtime(CPU)).accuracy
    return kept


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


def measured(name: str, seed: int, search: Callable[[int], Found], known: dict[str, Any]) -> tuple[Found, float]:
    """What a way found with a seed, and the winner's test accuracy: known by this name, or measured now."""
    if name not in known:
        found = search(seed)
        known[name] = {"machine": machine_line(), "found": asdict(found), "test": confirmed_test(found.winner)}
    found, test = Found(**known[name]["found"]), known[name]["test"]
    figures = f"{found.seconds:.0f} s, {found.epochs} epochs, {found.validation:.2%}, test {test:.2%}"
    print(f"{name}: {figures}; {known[name]['machine']}", flush=True)
    return found, test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nested-trials", type=int, default=4)
    parser.add_argument("--ways", nargs="+", default=["sweep", "full grid", "nested", "optuna"])
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    ways: dict[str, Callable[[int], Found]] = {
        "sweep": by_sweep,
        "full grid": by_full_grid,
        "nested": lambda seed: by_nesting(seed, arguments.nested_trials),
        "optuna": by_optuna,
    }
    kept = kept_results(arguments.json, {"nested trials": arguments.nested_trials})
    results: dict[str, list[tuple[Found, float]]] = {way: [] for way in arguments.ways}
    for seed in range(arguments.seeds):
        for way in arguments.ways:
            results[way].append(measured(f"seed {seed}, {way}", seed, ways[way], kept["results"]))
            arguments.json.write_text(json.dumps(kept, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
