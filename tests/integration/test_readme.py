"""The README's commands, run as they stand there; a sweep gets flags behind its own that make it short."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipeline.config import SweepConfig
from pipeline.sweep_actions import print_graph
from tests.integration.commands import DEADLINE, ROOT, free_port, run_to_end, start
from vit.data import DataConfig

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line.strip()
]
SHORT = "--train-limit 300 --precision fp32 --trials 2 --max-epochs 1 --finalists 1 --seeds 1"
pytestmark = pytest.mark.slow


def words_of(command: str) -> list[str]:
    """The module and the arguments of a `python -m ...` command."""
    return shlex.split(command)[2:]


def run_well(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a `python -m ...` command with this Python, and its output unseen unless it fails."""
    module, *arguments = words_of(command)
    result = run_to_end(module, folder, *arguments)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result


def of_module(module: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(f"python -m pipeline.{module}")]


def test_every_command_is_of_a_kind_that_is_run_here() -> None:
    known = r"make (sweep|test)|\. \.venv/bin/activate|python -m pipeline\.(sweep|train|promote|doctor|ui)( .*)?"
    assert COMMANDS
    assert [command for command in COMMANDS if not re.fullmatch(known, command)] == []


@pytest.mark.parametrize("target", ["sweep", "test"])
def test_make_runs_the_command_in_the_environment_that_it_set_up(target: str) -> None:
    recipe = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    ends = {
        "sweep": "python -m pipeline.sweep --trials 32 --dataset digits",
        "test": "python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder",
    }
    assert recipe[-1] == f".venv/bin/{ends[target]}"
    assert any("--constraint constraints.txt" in line for line in recipe)


def test_make_help_lists_every_target_that_the_readme_names() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in re.findall(r"`make (\w+)`|^make (\w+)$", README, re.MULTILINE):
        assert f"make {''.join(target)}" in listed


def test_sweep_then_promote_then_look_back(tmp_path: Path) -> None:
    digits = [command for command in of_module("sweep") if "digits" in command]
    assert digits
    for command in digits:
        run_well(f"{command} {SHORT}", tmp_path)
    promote = of_module("promote")
    plain = [command for command in promote if not re.search("--(history|rollback)", command)]
    for command in plain:
        assert "is the champion" in run_well(command, tmp_path).stdout
    # After one promotion there is no champion before, and `--rollback` says so.
    for command in promote:
        if "--history" in command:
            assert "promote" in run_well(command, tmp_path).stdout
        if "--rollback" in command:
            module, *arguments = words_of(command)
            result = run_to_end(module, tmp_path, *arguments)
            assert (result.returncode, "no way back" in result.stderr) == (2, True)
    _opens_the_ui(of_module("ui")[0], tmp_path)
    for command in of_module("doctor"):
        module, *arguments = words_of(command)
        # Other tests' Rays on this machine are a finding, and may be on their way out.
        result = run_to_end(module, tmp_path, *arguments, env={"RAY_ADDRESS": "127.0.0.1:1"})
        assert (result.returncode in (0, 1), result.stderr) == (True, "")
        assert re.search(r"^(nothing was|\d+) found", result.stdout.splitlines()[-1])


def _opens_the_ui(command: str, folder: Path) -> None:
    port = free_port()
    module, *arguments = words_of(command)
    with start(module, folder, *arguments, "--port", str(port)) as server:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        server.terminate()
        server.wait(DEADLINE)


def test_the_picture_is_what_the_command_draws(tmp_path: Path) -> None:
    config = SweepConfig(
        data=DataConfig("digits"), storage=f"{tmp_path}/sweeps", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"
    )
    print_graph(config, tmp_path / "stages.mmd")
    (picture,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert picture == (tmp_path / "stages.mmd").read_text()
    assert not list((tmp_path / "sweeps").iterdir())  # nothing was run


def test_the_tree_names_every_file_of_the_packages() -> None:
    tree = README.split("## The tree")[1]
    files = subprocess.run(
        ["git", "ls-files", "pipeline", "vit", "tune_spaces", "benchmarks", "mlflow", "docs", "deploy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    named = [name for name in files if Path(name).name != "__init__.py"]
    assert [name for name in named if Path(name).name not in tree] == []
