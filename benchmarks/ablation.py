"""Claim: each named change of the recipe improves the accuracy as stated, both with the other changes and without them.

Trains every combination of the factors with every seed. With one seed, all train on the same images in the same order,
so that they differ in the factors alone. Accuracies are those on the validation images, which are cut from train; the
test images are not read. Finished trainings are kept in the JSON file and are not repeated; a file with other epochs,
images, recipe or precision is refused.

    python -m benchmarks.ablation --dataset cifar10 --train-limit 10000 --epochs 2 --seeds 3 --recipe seed \
        --factor optimizer=muon,learning_rate=3e-3 --factor attention_init=mimetic --json FILE

A factor is one or more settings, FIELD=VALUE, that are changed together. Without `--factor` the recipe itself is
trained. With `--each`, the recipe is trained without any factor and then with one factor at a time.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from benchmarks.kept_results import Settings, kept_results
from benchmarks.machine import machine_line
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.training.fit import Fit, NonFiniteLossError
from vit.training.overrides import overridden
from vit.training.precision import Precision, faster_precision
from vit.training.recipes import RECIPES
from vit.training.runtime import Runtime, Split

CPU = torch.device("cpu")
Arm = tuple[str, ...]
"""The factors that are switched on in a training."""


def arms(factors: Sequence[str], each: bool) -> list[Arm]:
    """All combinations of the factors, or with `each` the single factors; the arm without any factor comes first."""
    if each:
        return [(), *((factor,) for factor in factors)]
    return [
        tuple(factor for factor, is_on in zip(factors, choice, strict=True) if is_on)
        for choice in product((False, True), repeat=len(factors))
    ]


def accuracy_of(dataset: Dataset, arm: Arm, arguments: argparse.Namespace, runtime: Runtime, seed: int) -> float | None:
    """The validation accuracy after the last epoch; None where the training diverged."""
    model, recipe = RECIPES[arguments.recipe](dataset.shape)
    settings = [setting for factor in arm for setting in factor.split(",")]
    model, recipe = overridden(model, replace(recipe, epochs=arguments.epochs), settings)
    train, validation = Split.of(dataset.train, CPU), Split.of(dataset.validation, CPU)
    fit = Fit(model, recipe, runtime, train, validation, measure_normalisation(dataset.train.images), seed)
    try:
        return [fit.run_epoch().validation.accuracy for _ in range(recipe.epochs)][-1]
    except NonFiniteLossError:
        return None


def settings_of(dataset: Dataset, arguments: argparse.Namespace, precision: Precision) -> Settings:
    return {
        "recipe": arguments.recipe,
        "epochs": arguments.epochs,
        "dataset": f"{dataset.name} {dataset.digest[:19]}",
        "train limit": arguments.train_limit,
        "precision": precision,
    }


def trained(dataset: Dataset, arguments: argparse.Namespace) -> Iterator[tuple[Arm, int, float | None]]:
    """Trains each arm with each seed, seed by seed, so that stopping early still leaves complete comparisons."""
    model, recipe = RECIPES[arguments.recipe](dataset.shape)
    runtime = Runtime(CPU, faster_precision(model, recipe.batch_size, CPU))
    print(f"machine: {machine_line()}; {runtime.precision}; {dataset.name}, {len(dataset.train)} images", flush=True)
    kept = kept_results(arguments.json, settings_of(dataset, arguments, runtime.precision))
    known = kept["results"]
    for seed in range(arguments.seeds):
        for arm in arms(arguments.factor, arguments.each):
            key = f"seed {seed}: {' '.join(arm) or 'none'}"
            if key not in known:
                known[key] = accuracy_of(dataset, arm, arguments, runtime, seed)
                arguments.json.write_text(json.dumps(kept, indent=2) + "\n")
                print(f"{key}: {'diverged' if known[key] is None else f'{known[key]:.2%}'}", flush=True)
            yield arm, seed, known[key]


def table(results: dict[Arm, list[float | None]], factors: Sequence[str]) -> str:
    """Markdown: the mean of each arm, then what each factor adds, in pairs of trainings that are otherwise the same.

    A training that diverged, None in `results`, has no accuracy: it is counted, but is part of no mean and no pair.
    """
    lines = ["| factors | mean | standard deviation | n | diverged |", "|---|---|---|---|---|"]
    for arm, ends in results.items():
        values = [accuracy for accuracy in ends if accuracy is not None]
        mean = f"{statistics.mean(values):.2%}" if values else ""
        counts = f"{len(values)} | {len(ends) - len(values)}"
        lines.append(f"| {', '.join(arm) or 'none'} | {mean} | {_spread(values)} | {counts} |")
    lines += ["", "| factor | adds, in points | standard error | seeds |", "|---|---|---|---|"]
    for factor in factors:
        gains = [100 * gain for gain in _gains(results, factor)]
        mean = f"{statistics.mean(gains):+.2f}" if gains else ""
        error = f"{statistics.stdev(gains) / len(gains) ** 0.5:.2f}" if len(gains) > 1 else ""
        lines.append(f"| {factor} | {mean} | {error} | {len(gains)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.stdev(values):.2%}" if len(values) > 1 else ""


def _gains(results: dict[Arm, list[float | None]], factor: str) -> list[float]:
    """Accuracy with the factor minus accuracy without it, for each seed: the mean over all else that varies.

    The combinations of the other factors share the seed, so they are no further samples. A seed with which every pair
    has a training that diverged is left out.
    """
    pairs = [(results[arm], results[tuple(each for each in arm if each != factor)]) for arm in results if factor in arm]
    differences = [[_difference(*pair) for pair in zip(with_it, without, strict=True)] for with_it, without in pairs]
    by_seed = [[gain for gain in of_a_seed if gain is not None] for of_a_seed in zip(*differences, strict=True)]
    return [statistics.mean(gains) for gains in by_seed if gains]


def _difference(on: float | None, off: float | None) -> float | None:
    return None if on is None or off is None else on - off


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--train-limit", type=int)
    parser.add_argument("--recipe", default="seed", choices=sorted(RECIPES))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--factor", action="append", default=[], metavar="FIELD=VALUE,...")
    parser.add_argument("--each", action="store_true", help="one factor at a time, not all combinations")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    dataset = load_dataset(DataConfig(arguments.dataset, train_limit=arguments.train_limit))
    results: dict[Arm, list[float | None]] = {}
    for arm, _, accuracy in trained(dataset, arguments):
        results.setdefault(arm, []).append(accuracy)
    print(table(results, arguments.factor))


if __name__ == "__main__":
    main()
