"""Tests that a sweep refuses bad input in one line that names the flag or path, and leaves nothing half-written."""

import contextlib
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from tests.integration.commands import free_port, run_here, run_to_end

Run = Callable[..., CompletedProcess[str]]


def test_flags_without_sense(tmp_path: Path, run_in_tmp_path: Run) -> None:
    for arguments, rule in (
        ("--trials 0", "--trials is 0, but must be at least 1"),
        ("--trials -3", "--trials is -3, but must be at least 1"),
        ("--max-epochs 0", "--max-epochs is 0, but must be at least 1"),
        ("--grace-epochs 5 --max-epochs 4", "--grace-epochs is 5, but must be at most --max-epochs 4"),
        ("--reduction-factor 1", "--reduction-factor is 1, but must be at least 2"),
        ("--fuse half", "--fuse is 'half', but must be auto, off or a number of at least 2"),
        ("--seed -1", "--seed is -1, but must be at least 0"),
        ("--precision fp8", "--precision is 'fp8', but must be one of"),
        ("--space nope", "--space is 'nope', but must be one of natural, recipe, small, or a file that ends in .py"),
        ("--space mine.py", "--space: mine.py is not a file"),
        ("--search grid", "--search is 'grid', but must be one of random, tpe"),
        ("--tta rotate", "--tta is 'rotate', but must be one of none, flip"),
        ("--tta flip", "--tta is flip, but must be none for digits: a mirror image may be of another class"),
        ("--cpus-per-trial 0", "--cpus-per-trial is 0, but must be above 0"),
        ("--gpus-per-trial 1.5", "--gpus-per-trial is 1.5, but must be 0, a fraction of one, or a whole number"),
        ("--max-concurrent 0", "--max-concurrent is 0, but must be at least 1"),
        ("--workers-per-trial 0", "--workers-per-trial is 0, but must be at least 1"),
        ("--workers-per-trial 65", "--workers-per-trial is 65, but must be at most the 32 images of a batch"),
        ("--finalists 0", "--finalists is 0, but must be at least 1"),
        ("--seeds 0", "--seeds is 0, but must be at least 1"),
        ("--audit -1", "--audit is -1, but must be at least 0"),
        ("--no-cache --from search", "--from is 'search', but with --no-cache all stages run"),
        ("--why 3", "but there is no such database: run a sweep first"),
        ("--why 3 --json why.json", "--why is 3, but cannot be given together with --json"),
        ("--budget soon", "--budget is 'soon', but must be a time above 0"),
        ("--graph stages.png", "--graph is stages.png, but must end in .svg, .mmd or .txt"),
        ("--graph none/stages.svg", "--graph is none/stages.svg, but its folder does not exist"),
        ("--max-failures -1", "--max-failures is -1, but must be at least 0"),
        ("--tracking-timeout 0", "--tracking-timeout is 0, but must be above 0"),
        ("--stall-minutes nan", "--stall-minutes is nan, but must be above 0"),
        ("--train-limit 1", "--train-limit is 1, but must be at least 2"),
        ("--json none/result.json", "--json is none/result.json, but its folder does not exist"),
        ("--learning-rate 1", "unrecognized arguments: --learning-rate 1"),
    ):
        _assert_refused(run_in_tmp_path(*arguments.split()), 2, rule)
        assert _left(tmp_path) == set(), arguments


def test_stages_that_cannot_be_begun_at_or_ended_with(tmp_path: Path, run_in_tmp_path: Run) -> None:
    for arguments, rule in (
        ("--until nope", "--until is 'nope', but must be one of prepare, search, baseline, confirm, evaluate"),
        ("--from nope", "--from is 'nope', but must be one of prepare, search, baseline, confirm, evaluate"),
        ("--from report --until search", "--from is report, but search (--until) does not depend on it"),
        ("--from confirm", "--from is confirm, but prepare has to run first, because it has not finished before"),
        ("--why 3", "--why is 3, but experiment vit-digits holds no sweep"),
    ):
        _assert_refused(run_in_tmp_path("--dataset", "digits", *arguments.split()), 2, rule)
        _assert_no_runs(tmp_path)
        assert list(tmp_path.glob("sweeps/*")) == [], arguments


def test_records_that_cannot_be_written(tmp_path: Path, run_in_tmp_path: Run) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "text.db").write_text("not a database")
    for arguments, status, rule in (
        ("--storage file/sweeps", 2, f"--storage is {tmp_path}/file/sweeps/sweep-digits-*: Not a directory"),
        ("--storage file", 2, f"--storage is {tmp_path}/file/sweep-digits-*, which cannot be written: Not a directory"),
        ("--storage nowhere://bucket/sweeps", 2, "--storage leads to nowhere://bucket/sweeps/sweep-digits-*: "),
        (f"--tracking-uri sqlite:///{tmp_path}/none/runs.db", 2, f"--tracking-uri names {tmp_path}/none/runs.db"),
        (f"--tracking-uri sqlite:///{tmp_path}/text.db", 2, "text.db, but that file is not a SQLite database"),
        ("--tracking-uri ./mlruns", 2, "--tracking-uri is './mlruns', but must be sqlite:///FILE"),
        (f"--tracking-uri http://127.0.0.1:{free_port()}", 2, "does not answer"),
    ):
        _assert_refused(run_in_tmp_path("--dataset", "digits", *arguments.split()), status, rule)
        assert _left(tmp_path) == {"file", "text.db"}, arguments


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        pytest.param(lambda folder: None, "--dataset is images, but no such data set or folder exists", id="missing"),
        pytest.param(lambda folder: folder.mkdir(), "images holds no data set: it must hold train/<class>", id="empty"),
        pytest.param(lambda folder: folder.touch(), "--dataset images is a file, but must be a folder", id="a file"),
        pytest.param(
            lambda folder: _write_images(folder, ["cat"]),
            "images has one class (cat), but must have at least two",
            id="one class",
        ),
        pytest.param(
            lambda folder: _write_images(folder, ["cat", "dog"], sizes=(8, 12)),
            "images has images of different sizes, 8x8 (8), 12x12 (8): resize them with --img-size",
            id="mixed sizes",
        ),
        pytest.param(
            lambda folder: _write_images(folder, ["cat", "dog"], train_images=1),
            "class cat has 1 training images, but must have at least 2",
            id="one image",
        ),
    ],
)
def test_data_that_cannot_be_used(
    tmp_path: Path, run_in_tmp_path: Run, make: Callable[[Path], None], rule: str
) -> None:
    make(tmp_path / "images")
    _assert_refused(run_in_tmp_path("--dataset", "images"), 2, rule)
    _assert_no_runs(tmp_path)


@pytest.mark.slow
def test_refused_as_a_user_sees_it(tmp_path: Path) -> None:
    """In a process of its own, the command also shows nothing that the frameworks print when they start or exit."""
    (tmp_path / "broken").mkdir()
    _write_images(tmp_path / "broken" / "images", ["cat", "dog"])
    jpeg = tmp_path / "broken" / "images" / "train" / "dog" / "1.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:100])
    cases: dict[str, tuple[str, int, str]] = {
        "word": ("--trials abc", 2, "argument --trials: invalid int value: 'abc'"),
        "broken": ("--dataset images", 2, f"{jpeg} is not an image that can be read"),
        "server": (f"--dataset digits --tracking-uri http://127.0.0.1:{free_port()}", 2, "does not answer"),
        "cores": (
            "--dataset digits --cpus-per-trial 4096",
            2,
            "--cpus-per-trial is 4096, but the largest node of this cluster has",
        ),
    }

    def run_case(name: str) -> CompletedProcess[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        return run_to_end("pipeline.sweep", tmp_path / name, *cases[name][0].split())

    with ThreadPoolExecutor(2) as pool:
        for (name, (_, status, rule)), ended in zip(cases.items(), pool.map(run_case, cases), strict=True):
            _assert_refused(ended, status, rule)
            _assert_no_runs(tmp_path / name)


@pytest.fixture
def run_in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Returns a function that runs the command in `tmp_path`."""
    monkeypatch.delenv("VIT_DATA_DIR", raising=False)
    return partial(run_here, "pipeline.sweep", tmp_path)


def _assert_refused(ended: CompletedProcess[str], status: int, rule: str) -> None:
    """Checks that the command was refused in one line that matches `rule`, in which a star stands for any text."""
    assert ended.returncode == status, ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(".*".join(map(re.escape, rule.split("*"))), line), line
    assert ended.stdout == ""
    assert not re.search(r"Traceback|\d{4}-\d\d-\d\d", line)


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _assert_no_runs(folder: Path) -> None:
    database = folder / "mlflow.db"
    if not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def _write_images(folder: Path, classes: list[str], sizes: tuple[int, ...] = (8, 8), train_images: int = 4) -> None:
    """Writes JPEGs of random pixels, with alternating sizes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train_images), ("test", 4)):
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                side = sizes[number % len(sizes)]
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.jpg")
