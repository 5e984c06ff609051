"""Tests that the README names what exists; other tests run its commands, where they have a sweep or a training."""

import re
import subprocess
from pathlib import Path

import pytest

from pipeline.config import SweepConfig
from pipeline.sweep_actions import print_graph
from tests.integration.commands import ROOT
from tests.integration.readme import COMMANDS, README
from vit.data.dataset import DataConfig

pytestmark = pytest.mark.slow


def test_every_command_is_of_a_kind_that_is_run_here() -> None:
    modules = "sweep|train|promote|reproduce|compare|predict|report|copy_store|doctor|ui"
    known = rf"make (sweep|test)|\. \.venv/bin/activate|python -m pipeline\.({modules})( .*)?"
    assert COMMANDS
    assert [command for command in COMMANDS if not re.fullmatch(known, command)] == []


MAKE = {
    "sweep": "python -m pipeline.sweep --trials 32 --dataset digits",
    "ui": "python -m pipeline.ui",
    "promote": "python -m pipeline.promote --dataset digits",
    "report": "python -m pipeline.report",
    "gpu": "python -m benchmarks.gpu",
    "test": "python -m pytest -q --durations 40 -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0",
}
"""The commands that the targets named in the README run."""


@pytest.mark.parametrize("target", MAKE)
def test_make_runs_the_command_in_the_environment_that_it_set_up(target: str) -> None:
    recipe = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert recipe[-1] == f".venv/bin/{MAKE[target]}"
    assert MAKE[target] in COMMANDS or target in ("sweep", "test", "gpu")  # the README names only their `make` targets
    assert any("--constraint constraints.txt" in line for line in recipe)


def test_make_help_lists_every_target_that_the_readme_names() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    named = {"".join(found) for found in re.findall(r"`make (\w+)`|^make (\w+)$", README, re.MULTILINE)}
    assert named == {*MAKE}
    for target in named:
        assert f"make {target}" in listed


def test_the_picture_is_what_the_command_draws(tmp_path: Path) -> None:
    config = SweepConfig(
        data=DataConfig("digits"), storage=f"{tmp_path}/sweeps", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"
    )
    print_graph(config, tmp_path / "stages.mmd")
    (picture,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert picture == (tmp_path / "stages.mmd").read_text()
    assert not list((tmp_path / "sweeps").iterdir())  # nothing was run


def test_the_tree_names_every_folder() -> None:
    tree = README.split("## The tree")[1].split("```")[1]
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {Path(name).parts[0] for name in files if "/" in name and not name.startswith(".")}
    within = {Path(name).parts[1] for name in files if name.startswith("pipeline/") and name.count("/") > 1}
    named = [line.partition("/")[0] for line in tree.splitlines() if "/" in line.partition(" ")[0] or line[:2] == "  "]
    assert sorted(name.strip() for name in named) == sorted([*folders, *within])


def test_the_picture_of_the_report_is_there() -> None:
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", README)
    assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")
