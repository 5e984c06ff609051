"""What the commands import: help and bad usage load no heavy framework, and no import silences warnings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deadline import DEADLINE

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "ray", "mlflow", "sklearn", "pandas", "matplotlib", "altair", "scipy")
PROGRAM = """
import json, runpy, sys
command, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(command, run_name="__main__", alter_sys=True)
except SystemExit as end:
    print(json.dumps({"status": end.code, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


def _run(command: str, *arguments: str) -> tuple[int, set[str], str]:
    line = [sys.executable, "-c", PROGRAM, command, *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True)
    report = json.loads(done.stderr.splitlines()[-1])
    return report["status"], set(report["modules"]), done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "pipeline.sweep",
        "pipeline.train",
        "pipeline.promote",
        "pipeline.doctor",
        "pipeline.ui",
        "pipeline.predict",
        "pipeline.compare",
        "pipeline.report",
        "pipeline.reproduce",
        "pipeline.copy_store",
    ],
)
def test_help_needs_no_framework(command: str) -> None:
    status, modules, printed = _run(command, "--help")
    assert status == 0
    assert f"python -m {command}" in printed
    assert "argparse" in modules
    assert modules & set(HEAVY) == set()


@pytest.mark.parametrize(
    "bad", [["--trials", "0"], ["--trials", "many"], ["--max-epochs", "2", "--grace-epochs", "3"], ["--json", "/no/x"]]
)
def test_bad_usage_of_a_sweep_is_reported_before_the_frameworks_are_imported(bad: list[str]) -> None:
    status, modules, _ = _run("pipeline.sweep", *bad)
    assert status == 2
    assert modules & set(HEAVY) == set()


def test_the_stages_do_without_what_registers_a_model_until_they_come_to_it() -> None:
    """Importing `mlflow.pytorch` takes seconds, and sets the root logger's level to ERROR."""
    program = "import sys, pipeline.stages, pipeline.train_actions; print('mlflow.pytorch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("module", ["pipeline.tracking.artifacts", "vit.data.sources"])
def test_a_warning_is_heard_also_when_a_model_has_been_registered(module: str) -> None:
    program = (
        "from pipeline.tracking.server import prepare_mlflow; prepare_mlflow(); import mlflow.pytorch; "
        f"from {module} import logger; logger.warning('something is missing')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "something is missing" in done.stderr
