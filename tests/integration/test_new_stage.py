"""Tests that a stage can be added as CONTRIBUTING.md describes, in a copy of the project."""

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.commands import ROOT, client_of, run_to_end, runs_of

pytestmark = pytest.mark.slow


def test_a_stage_is_added_as_the_guide_says(tmp_path: Path) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding a stage")[1].split("\n## ")[0]
    output, stage, entry = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    for package in ("pipeline", "vit", "tune_spaces"):
        shutil.copytree(ROOT / package, tmp_path / "copy" / package)
    pipeline = tmp_path / "copy" / "pipeline"
    _append(pipeline / "results" / "stage_outputs.py", output)
    (pipeline / "stages" / "balance.py").write_text(stage)
    stages = pipeline / "stages" / "__init__.py"
    text = stages.read_text()
    assert text.count("    stages = [\n") == 1
    text = text.replace("    stages = [\n", f"    stages = [\n        {entry.strip()},\n")
    imports = "from pipeline.results.stage_outputs import Balance\nfrom pipeline.stages.balance import count_classes\n"
    stages.write_text(text.replace("from pipeline.stages.audit", f"{imports}from pipeline.stages.audit"))

    work = tmp_path / "work"
    work.mkdir()
    command = ("--dataset", "digits", "--until", "balance")
    environment = {"PYTHONPATH": str(tmp_path / "copy")}
    for said in ("run, because prepare runs", "cached from run"):
        done = run_to_end("pipeline.sweep", work, *command, env=environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert f"balance: {said}" in done.stdout
        assert ("training images a class" in done.stdout) == said.startswith("run")
    stages_of = {run.data.tags.get("pipeline.stage"): run for run in runs_of(work)}
    assert set(stages_of) == {None, "prepare", "balance"}
    path = client_of(work).download_artifacts(stages_of["balance"].info.run_id, "stage.json", str(tmp_path))
    assert '"output": {"fewest":' in Path(path).read_text()


def _append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text()}\n\n{text}")
