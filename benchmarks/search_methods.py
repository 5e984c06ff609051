"""Question: does choosing trials by the results so far (`--search tpe`) find better ones than drawing all at random?

Both methods search the same space with the same seeds and the same ASHA, begin with the same trials, and run through
the sweep command itself. They are compared at equal numbers of epochs: those of the shorter search of each pair.

    python -m benchmarks.search_methods [--dataset NAME] [--space NAME] [--trials 32] [--max-epochs 9] [--train-limit N]
        [--seeds 5] [--json FILE]

`--space benchmarks/cheap_space.py` has trials on CIFAR-10 that a CPU core trains in seconds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import machine_line

METHODS = ("random", "tpe")
SHARES = (0.25, 0.5, 1.0)
"""The shares of a pair's epochs after which its two searches are compared."""


@dataclass(frozen=True)
class Course:
    """The course of one search."""

    seconds: float
    accuracies: list[float]
    """The validation accuracy of each epoch of any trial, in the order in which the epochs ended."""

    def best_after(self, epochs: int) -> float:
        return max(self.accuracies[:epochs])


def search(method: str, seed: int, flags: Sequence[str]) -> Course:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline.sweep", "--search", method, "--seed", str(seed), *flags]
        store = f"sqlite:///{folder}/mlflow.db"
        places = ["--tracking-uri", store, "--storage", f"{folder}/sweeps"]
        started = time.perf_counter()
        subprocess.run([*command, *places, "--until", "search"], check=True, stdout=subprocess.DEVNULL)
        return Course(time.perf_counter() - started, _accuracies(store))


def _accuracies(store: str) -> list[float]:
    from mlflow import MlflowClient  # slow to import

    client = MlflowClient(store)
    experiments = [each.experiment_id for each in client.search_experiments()]
    trials = client.search_runs(experiments, "tags.`pipeline.kind` = 'trial'", max_results=1000)
    epochs = [epoch for run in trials for epoch in client.get_metric_history(run.info.run_id, "val/accuracy")]
    return [epoch.value for epoch in sorted(epochs, key=lambda each: each.timestamp)]


def table(pairs: Sequence[tuple[Course, Course]]) -> str:
    """Markdown: the best accuracies after equal numbers of epochs, and after all the epochs of each search."""
    lines = ["| of a pair's epochs | random | tpe | tpe minus random, in points |", "|---|---|---|---|"]
    for share in SHARES:
        ends = [max(1, round(share * min(len(one.accuracies), len(other.accuracies)))) for one, other in pairs]
        lines.append(_row(f"{share:.0%} ({_range(ends)})", pairs, [(end, end) for end in ends]))
    every = [(len(one.accuracies), len(other.accuracies)) for one, other in pairs]
    drawn, chosen = zip(*every, strict=True)
    name = f"all of each ({_range(drawn)}; {_range(chosen)}: {sum(chosen) / sum(drawn):.1f} times as many)"
    return "\n".join([*lines, _row(name, pairs, every)])


def _row(name: str, pairs: Sequence[tuple[Course, Course]], ends: Sequence[tuple[int, int]]) -> str:
    """A row with the means over the seeds, and the mean of the paired differences with its standard error."""
    bests = [(pair[0].best_after(end[0]), pair[1].best_after(end[1])) for pair, end in zip(pairs, ends, strict=True)]
    means = [statistics.mean(each) for each in zip(*bests, strict=True)]
    more = [100 * (other - one) for one, other in bests]
    error = f" ± {statistics.stdev(more) / len(more) ** 0.5:.2f}" if len(more) > 1 else ""
    return f"| {name} | {means[0]:.2%} | {means[1]:.2%} | {statistics.mean(more):.2f}{error} |"


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts)} to {max(counts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--space", help="name or file; by default the one for the images")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--max-epochs", type=int, default=9)
    parser.add_argument("--train-limit", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    arguments = parser.parse_args()
    flags = [f"--dataset={arguments.dataset}", f"--trials={arguments.trials}", f"--max-epochs={arguments.max_epochs}"]
    if arguments.space is not None:
        flags.append(f"--space={arguments.space}")
    if arguments.train_limit is not None:
        flags.append(f"--train-limit={arguments.train_limit}")
    print(machine_line(), flush=True)
    pairs: list[tuple[Course, Course]] = []
    for seed in range(arguments.seeds):
        drawn, chosen = (search(method, seed, flags) for method in METHODS)
        pairs.append((drawn, chosen))
        for method, course in zip(METHODS, pairs[-1], strict=True):
            epochs = len(course.accuracies)
            print(f"seed {seed}, {method}: {course.seconds:.0f} s, {epochs} epochs, {course.best_after(epochs):.2%}")
        sys.stdout.flush()
    print(table(pairs))
    if arguments.json:
        plain = [dict(zip(METHODS, map(asdict, pair), strict=True)) for pair in pairs]
        arguments.json.write_text(json.dumps(plain, indent=2) + "\n")


if __name__ == "__main__":
    main()
