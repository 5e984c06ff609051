"""Runs the same search through the command of `pipeline`, in a process of its own."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.setting import Item, NotAvailableError, Setting
from benchmarks.gpu.table import Figure, Measured

NEEDED = ("ray", "mlflow", "optuna", "altair", "matplotlib", "psutil", "pyarrow", "PIL", "sklearn")
"""Some of the packages that `pipeline` needs: if one is missing, `pipeline` is not installed."""
SECONDS_TO_END = 60.0
"""The time that a sweep has to end after it was told to."""


def sweep_through_pipeline(setting: Setting) -> Iterator[Item]:
    trials = 2 if setting.scale.miniature else setting.scale.trials
    yield Item(f"python -m pipeline.sweep, {trials} trials", partial(_sweep, setting, trials))


def _sweep(setting: Setting, trials: int) -> Measured:
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing:
        raise NotAvailableError(f"not installed: {', '.join(missing)}")
    if setting.images.random and not setting.scale.miniature:
        raise NotAvailableError("CIFAR-10 cannot be had")
    with tempfile.TemporaryDirectory() as folder:
        flags = [*_flags(setting), "--trials", str(trials), *_records(Path(folder))]
        started = time.perf_counter()
        _run([sys.executable, "-m", "pipeline.sweep", *flags], setting.seconds_left() - SECONDS_TO_END)
        seconds = time.perf_counter() - started
        result = json.loads((Path(folder) / "result.json").read_text())
    best = result["leaderboard"][0]
    accuracy = next(best[key] for key in ("val_accuracy", "accuracy") if key in best)
    figures = (Figure("the command", seconds, "s"), Figure("best on validation", 100 * accuracy, "%"))
    return Measured(figures, 1, f"{' '.join(_flags(setting))}; from start to end of the command")


def _is_installed(package: str) -> bool:
    """Whether a package is installed; a mere folder of its name, such as this repository's `mlflow/`, is none."""
    found = find_spec(package)
    return found is not None and found.origin is not None


def _flags(setting: Setting) -> list[str]:
    if setting.scale.miniature:
        flags = "--dataset digits --train-limit 50 --max-epochs 1 --precision fp32"
    else:
        flags = "--dataset cifar10 --max-epochs 30 --grace-epochs 1 --reduction-factor 4"
    return ["--space", "recipe", "--until", "search", *flags.split()]


def _records(folder: Path) -> list[str]:
    """The flags that put all records into a folder that is deleted afterwards."""
    store = f"sqlite:///{folder}/mlflow.db"
    return ["--storage", f"{folder}/sweeps", "--tracking-uri", store, "--json", f"{folder}/result.json"]


def _run(command: list[str], seconds: float) -> None:
    """Runs a command. Raises NotAvailableError if it takes longer than `seconds`, RuntimeError if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=max(seconds, 1.0))
    except subprocess.TimeoutExpired:
        process.terminate()  # the sweep ends at the end of the epoch
        try:
            process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise NotAvailableError(f"not at its end after the {seconds:.0f} seconds that were left") from None
    if process.returncode:
        raise RuntimeError(f"it ended with {process.returncode}: {errors.strip()[-500:]}")
