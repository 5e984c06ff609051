"""What `benchmarks.gpu` does around its measurements; an integration test runs the measurements in miniature."""

import operator
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import search
from benchmarks.gpu.children import ChildError, in_children
from benchmarks.gpu.fused import fusing_pays
from benchmarks.gpu.images import random_images
from benchmarks.gpu.running import run_parts
from benchmarks.gpu.search import Halving, drawn_recipes, rungs
from benchmarks.gpu.setting import FULL, TINY, Item, NotAvailableError, Setting
from benchmarks.gpu.table import Figure, Measured, Row, Table
from benchmarks.gpu.timing import Timed, timed_epochs
from tests.deadline import DEADLINE
from tests.unit.vit.training.toy import CONFIG, NORMALISATION, PLAIN, RUNTIME, toy_split
from vit.fused.fit import FusedFit, fusing_key
from vit.model.config import ViTConfig
from vit.training.fit import NonFiniteLossError
from vit.training.recipes import Recipe

ROOT = Path(__file__).parents[3]
HEADER = {"measured": "today", "machine": "this one", "images": "some", "command": "none"}
# All that the project depends on, except torch, numpy and what torch itself needs; and its packages other than `vit`.
BLOCKED = (
    "ray", "mlflow", "altair", "matplotlib", "optuna", "pandas", "PIL", "psutil", "pyarrow", "pydantic", "rich",
    "safetensors", "sklearn", "scipy", "timm", "torchvision", "pipeline", "tune_spaces",
)  # fmt: skip
ALONE = f"""
import importlib, pkgutil, runpy, sys
for name in {BLOCKED}:
    sys.modules[name] = None
import benchmarks.gpu
for module in pkgutil.iter_modules(benchmarks.gpu.__path__, "benchmarks.gpu."):
    importlib.import_module(module.name)
from benchmarks.gpu.images import load_images
images = load_images()
assert images.random and "RANDOM" in images.source and len(images.train) + len(images.validation) == 50_000
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip


def measured(value: float) -> Row:
    return Row("fused", "one", "measured", (Figure("time", value, "s"),), 3)


def test_it_needs_no_more_than_vit_torch_and_numpy(tmp_path: Path) -> None:
    flags = ["--device", "cpu", "--tiny", "--parts", "device", "pipeline", "--out", str(tmp_path)]
    done = run("-c", ALONE, *flags)
    assert done.returncode == 0, done.stderr
    assert "large product | rate" in done.stdout
    assert "skipped | not installed: ray, mlflow" in done.stdout


def test_without_cuda_it_says_so_in_one_line() -> None:
    done = run("-m", "benchmarks.gpu", CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "python -m benchmarks.gpu: torch finds no CUDA device here\n"


def test_what_fails_is_a_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    def fails(error: Exception) -> Measured:
        raise error

    def part(setting: Setting) -> Iterator[Item]:
        yield Item("breaks", lambda: fails(torch.OutOfMemoryError("no\nmemory")))
        yield Item("lacks", lambda: fails(NotAvailableError("no such kernel")))
        yield Item("works", lambda: Measured((Figure("time", 1.5, "s"),), 3))

    images = random_images(4, 2, 2, 8, "a test")
    for end, expected in ((time.monotonic() + 60, "measured"), (time.monotonic() - 1, "skipped")):
        table = Table(tmp_path, HEADER, ["part"])
        run_parts({"part": part}, Setting(torch.device("cpu"), TINY, images, table, end))
        assert table.rows[-1].status == expected
    assert {row.note for row in table.rows} == {"the time limit was reached"}
    run_parts({"part": part}, Setting(torch.device("cpu"), TINY, images, table, time.monotonic() + 60))
    assert [row.status for row in table.rows[-3:]] == ["failed", "skipped", "measured"]
    assert [row.note for row in table.rows[-3:]] == ["OutOfMemoryError: no memory", "no such kernel", ""]
    assert table.has_failed("part", "breaks")
    assert "| part | works | time 1.5 s | 3 |  |" in (tmp_path / "table.md").read_text()


def test_rows_of_other_parts_stay_where_the_machine_is_the_same(tmp_path: Path) -> None:
    Table(tmp_path, HEADER, ["fused"]).add(measured(2.0))
    assert Table(tmp_path, HEADER, ["recipes"]).figure("fused", "one", "time") == 2.0
    assert Table(tmp_path, HEADER, ["fused"]).rows == []
    assert Table(tmp_path, {**HEADER, "machine": "another"}, ["recipes"]).rows == []


def test_fusing_is_judged_by_the_next_lower_number(tmp_path: Path) -> None:
    table = Table(tmp_path, HEADER, ["fused"])
    assert not fusing_pays(table, 5, compiled=True)
    for count, seconds in ((1, 1.0), (2, 1.5), (4, 0.5)):
        table.add(Row("fused", f"K = {count}, compiled", "measured", (Figure("a trial's epoch", seconds, "s"),)))
    assert fusing_pays(table, 5, compiled=True)
    assert not fusing_pays(table, 3, compiled=True)
    assert not fusing_pays(table, 5, compiled=False)


def test_epochs_that_take_long_are_fewer() -> None:
    count = 0

    def epoch() -> float:
        nonlocal count
        count += 1
        time.sleep(0.02)
        return float(count)

    assert timed_epochs(epoch, FULL).seconds == 5.0  # after two warm-ups, the median of 3 to 7
    count = 0
    assert timed_epochs(epoch, replace(FULL, seconds=0.03)).n == 1


@pytest.mark.parametrize("compiling", [0.0, 90.0])
def test_compiling_leaves_as_many_epochs_to_the_median(compiling: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, count = 0.0, 0

    def epoch() -> float:
        nonlocal clock, count
        clock += 1.0 if count else 1.0 + compiling
        count += 1
        return 1.0

    monkeypatch.setattr(time, "perf_counter", lambda: clock)
    assert timed_epochs(epoch, FULL) == Timed(1.0, FULL.epochs)
    assert count == FULL.warm_ups + FULL.epochs


def test_the_recipes_can_be_fused_and_differ() -> None:
    recipes = drawn_recipes(32, Recipe(optimizer="muon"), 32, seed=0)
    assert len({fusing_key(ViTConfig(), recipe) for recipe in recipes}) == 1
    assert len(set(recipes)) == 32
    assert recipes == drawn_recipes(32, Recipe(optimizer="muon"), 32, seed=0)
    assert {recipe.ema_decay for recipe in recipes} == {0.0, 0.99, 0.995, 0.998}


def test_the_best_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rungs(30) == [1, 4, 16]
    assert rungs(4) == [1]
    monkeypatch.setattr(search, "FACTOR", 2)
    recipes = [PLAIN, replace(PLAIN, learning_rate=1e30), replace(PLAIN, learning_rate=1e-5)]
    data = (toy_split(64), toy_split(30, seed=1), NORMALISATION)
    halving = Halving(FusedFit(CONFIG, recipes, RUNTIME, *data, seeds=range(3)), [0, 1, 2], {})
    expected = FusedFit(CONFIG, recipes, RUNTIME, *data, seeds=range(3)).run_epoch()
    halving.run_epoch()
    for trial, outcome in enumerate(expected):
        accuracy = -1.0 if isinstance(outcome, NonFiniteLossError) else outcome.validation.accuracy
        assert halving.accuracy[trial] == accuracy
    assert halving.accuracy[1] == -1.0
    halving.halve()
    assert sorted(halving.left) == [0, 2]
    halving.run_epoch()
    assert halving.trial_epochs == 5
    assert halving.accuracy[halving.best] == max(halving.accuracy.values())


def test_what_another_process_gives_or_fails_with() -> None:
    assert in_children(operator.is_, "job", 2, timeout=DEADLINE) == [False, False]
    with pytest.raises(ChildError, match="TypeError"):
        in_children(operator.getitem, "job", 1, timeout=DEADLINE)
