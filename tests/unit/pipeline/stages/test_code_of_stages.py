"""Tests of the code that each stage of a sweep depends on: a change of any module that it runs makes it run again."""

import ast
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.config import SweepConfig
from pipeline.graph import code_digest
from pipeline.graph.code_digest import code_digests
from pipeline.session.lifecycle import folder_of, open_session
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import SHARED_CODE, sweep_graph
from vit.data.dataset import DataConfig, Dataset, load_dataset

ROOT = Path(__file__).parents[4]
_READ = code_digest._read.__wrapped__
FINALS = (
    "pipeline/stages/full_length_trainings.py", "pipeline/stages/prepare.py", "pipeline/results/confirmation.py",
    "pipeline/training/driver_loop.py", "pipeline/training/distributed_training.py",
    "pipeline/training/instruction.py", "pipeline/training/training.py", "pipeline/training/worker_group.py",
    "pipeline/training/worker_loop.py", "pipeline/tracking/weights.py", "pipeline/trials/folder.py",
    "pipeline/trials/ledger.py", "pipeline/trials/records.py", "vit/files/checkpoint.py", "vit/training/fit.py",
)  # fmt: skip
TRIALS = (
    "pipeline/stages/running_trials.py", "pipeline/stages/prepare.py", "pipeline/search/asha.py",
    "pipeline/search/distributed_trial.py", "pipeline/search/driver.py", "pipeline/search/reports.py",
    "pipeline/search/trial.py", "pipeline/search/tune_adapters.py", "pipeline/search/tuner.py",
    "pipeline/planning/deadline.py", "pipeline/training/training.py", "pipeline/training/worker_loop.py",
    "pipeline/trials/folder.py", "pipeline/trials/ledger.py", "pipeline/trials/records.py",
    "pipeline/trials/rungs.py", "tune_spaces/space.py", "tune_spaces/trial_spec.py", "vit/model/layers.py",
    "vit/training/augment.py", "vit/training/fit.py",
)  # fmt: skip
RUN_BY: dict[str, tuple[str, ...]] = {
    "prepare": (
        "pipeline/stages/prepare.py", "pipeline/training/precision.py", "vit/data/duplicates.py",
        "vit/data/normalisation.py", "vit/training/precision.py",
    ),
    "search": ("pipeline/stages/search.py", "pipeline/results/leaderboard.py", *TRIALS),
    "baseline": ("pipeline/stages/baseline.py", *FINALS),
    "confirm": ("pipeline/stages/confirm.py", "pipeline/results/leaderboard.py", *FINALS),
    "audit": ("pipeline/stages/audit.py", "pipeline/results/audit_verdict.py", *TRIALS),
    "evaluate": (
        "pipeline/stages/evaluate.py", "pipeline/results/confirmation.py", "pipeline/tracking/pages.py",
        "pipeline/tracking/test_set_reads.py", "pipeline/tracking/weights.py", "pipeline/training/evaluation.py",
        "vit/files/checkpoint.py", "vit/training/metrics.py",
    ),
    "register": (
        "pipeline/stages/register.py", "pipeline/registry/model_card.py", "pipeline/registry/model_files.py",
        "pipeline/registry/onnx_model.py",
        "pipeline/registry/passport.py", "pipeline/registry/provenance.py", "pipeline/registry/registration.py",
        "pipeline/registry/served_model.py", "pipeline/registry/versions.py", "pipeline/results/confirmation.py",
        "pipeline/tracking/weights.py", "vit/data/pixels.py", "vit/files/serving.py",
    ),
    "report": (
        "pipeline/stages/report.py", "pipeline/charts/class_charts.py", "pipeline/charts/hyperparameter_charts.py",
        "pipeline/charts/style.py", "pipeline/charts/time_charts.py", "pipeline/charts/trial_charts.py",
        "pipeline/charts/viewer.py", "pipeline/figures/canvas.py", "pipeline/figures/graph_layout.py",
        "pipeline/figures/importance_figure.py", "pipeline/figures/ladder_figure.py",
        "pipeline/figures/leaderboard_figure.py", "pipeline/figures/trial_figures.py", "pipeline/page/blocks.py",
        "pipeline/page/class_sections.py", "pipeline/page/confusions.py", "pipeline/page/headline.py",
        "pipeline/page/hyperparameter_sections.py", "pipeline/page/mistakes.py", "pipeline/page/number_texts.py",
        "pipeline/page/page.css.jinja", "pipeline/page/page.html.jinja", "pipeline/page/page.py",
        "pipeline/page/pareto.py", "pipeline/page/pictures.py", "pipeline/page/recorded_trials.py",
        "pipeline/page/result_sections.py", "pipeline/page/run_sections.py", "pipeline/page/stage_drawing.py",
        "pipeline/page/sweep_records.py", "pipeline/page/time_use.py", "pipeline/page/trial_sections.py",
        "pipeline/registry/versions.py", "pipeline/report/edges.py", "pipeline/report/importance.py",
        "pipeline/report/note.py", "pipeline/report/recording.py", "pipeline/report/summary.py",
        "pipeline/report/summary_lines.py", "pipeline/report/winner_mistakes.py",
        "pipeline/results/audit_verdict.py", "pipeline/results/confirmation.py", "pipeline/statistics/intervals.py",
        "pipeline/tracking/run_files.py",
        "pipeline/statistics/bootstrap.py", "pipeline/statistics/paired.py", "vit/model/attention_rollout.py",
        "vit/model/work.py",
    ),
}  # fmt: skip
"""The files that each stage runs and that may change its output, listed by hand."""
CHANGES_NO_RESULT = (
    "pipeline/terminal/progress.py", "pipeline/cluster/watchdog.py", "pipeline/cluster/ray_tables.py",
    "pipeline/tracking/tracker.py", "pipeline/tracking/server.py", "pipeline/tracking/trial_runs.py",
    "pipeline/tracking/artifacts.py", "pipeline/graph/reuse.py", "pipeline/report/sweep_choice.py",
    "pipeline/diagnosis/storage.py", "pipeline/sweep.py",
)  # fmt: skip

APART = {
    # Above the stages: decides which of them run, with which configuration, which is in their fingerprints.
    "pipeline.sweep", "pipeline.sweep_actions", "pipeline.graph", "pipeline.config", "pipeline.errors",
    # Decides which stages there are; what they read of the configuration is in their fingerprints.
    "pipeline.stages",
    # Other commands.
    "pipeline.train", "pipeline.train_actions", "pipeline.session.train_session", "vit.training.overrides",
    "pipeline.promote", "pipeline.reproduce", "pipeline.predict", "pipeline.compare", "pipeline.copy_store",
    "pipeline.doctor", "pipeline.diagnosis", "pipeline.ui", "pipeline.report.__main__", "pipeline.report.sweep_choice",
    # Holds what the stages share. What it decides for them is among their settings, or measured by `SHARED_CODE`.
    "pipeline.session",
    # Decides how much runs at the same time and where, which changes only the speed; or shows the progress.
    "pipeline.cluster", "pipeline.terminal", "pipeline.report.printing", "pipeline.figures.graph_text",
    "pipeline.figures.boxes",
    # Fits the number of trials to a budget; that number is among the settings.
    "pipeline.planning",
    # Records what was trained: nothing is decided by it, and a training need not be repeated for another figure.
    "pipeline.tracking",
    # Used by the promotion gate only.
    "pipeline.statistics.calibration", "pipeline.statistics.medians", "pipeline.statistics.multiple_tests",
    # Has only fields, as a test below ensures.
    "pipeline.results.stage_outputs",
    # Read the images, which have a digest of their own.
    "vit.data.dataset", "vit.data.decode", "vit.data.image_files", "vit.data.parquet", "vit.data.sources",
    "vit.data.stratify",
    # Define the spaces; the trials that are drawn from them are among the settings.
    "tune_spaces.catalogue", "tune_spaces.natural", "tune_spaces.recipe", "tune_spaces.small", "tune_spaces.user_space",
}  # fmt: skip
"""Modules that are in no stage's digest, and packages of which at most some modules are in one, with the reasons."""


@pytest.fixture(scope="module")
def copy_of_the_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("copy")
    for package in ("pipeline", "vit", "tune_spaces"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DataConfig("digits"))


@pytest.fixture
def change(copy_of_the_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Yields a function that changes a file of the copy; the changes are undone after the test."""
    before: dict[Path, str] = {}

    def append(name: str) -> None:
        path = copy_of_the_project / name
        before[path] = path.read_text()
        path.write_text(f"{before[path]}\nCHANGED = 1\n")

    monkeypatch.setattr(code_digest, "ROOT", copy_of_the_project)
    monkeypatch.setattr(code_digest, "_read", _read_where_changed)
    yield append
    for path, text in before.items():
        path.write_text(text)


def _read_where_changed(module: str) -> tuple[str, tuple[str, ...]]:
    """Reads a module as a new process would, but does not parse again what an earlier test has read unchanged."""
    path = code_digest._file(module)
    return _read_once(module, *(each.read_bytes() for each in sorted(path.parent.glob(f"{path.stem}.*"))))


@cache
def _read_once(module: str, *contents: bytes) -> tuple[str, tuple[str, ...]]:
    return _READ(module)


@pytest.fixture
def folder_now(tmp_path: Path, dataset: Dataset) -> Callable[[], str]:
    """Returns a function that gives the folder in which a sweep would continue."""
    config = SweepConfig(data=DataConfig("digits"), storage=str(tmp_path))
    return lambda: folder_of(SweepSession, config, dataset)


def code_of(stage: str) -> dict[str, str]:
    return code_digests(f"pipeline.stages.{stage}", *SHARED_CODE)


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, names in RUN_BY.items() for name in names])
def test_a_change_of_what_a_stage_runs_is_seen(change: Callable[[str], None], stage: str, name: str) -> None:
    before = code_of(stage)
    change(name)
    after = code_of(stage)
    module = name.removesuffix(".py").removesuffix(".html.jinja").removesuffix(".css.jinja").replace("/", ".")
    assert [each for each in after if after[each] != before[each]] == [module]


def test_what_the_stages_give_out_are_fields_and_no_code() -> None:
    """The module is in no stage's digest, so that the output of a new stage does not make other stages run again."""
    text = (ROOT / "pipeline" / "results" / "stage_outputs.py").read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    assert [ast.unparse(node) for node in functions] == []


def test_every_module_is_code_of_a_stage_or_stands_apart_for_a_reason() -> None:
    code = {module for stage in RUN_BY for module in code_of(stage)}
    files = [path for package in ("pipeline", "vit", "tune_spaces") for path in (ROOT / package).rglob("*.py")]
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.name != "__init__.py"
    } | {"pipeline.stages"}
    assert code <= modules
    without_reason = [module for module in modules - code if not any(_is_in(module, each) for each in APART)]
    assert sorted(without_reason) == []
    assert sorted(each for each in APART if not any(_is_in(module, each) for module in modules - code)) == []


def _is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


@pytest.mark.parametrize("name", ["pipeline/page/page.py.orig", "pipeline/page/page.html.jinja.swp"])
def test_a_stray_file_beside_a_module_is_no_code(
    copy_of_the_project: Path, change: Callable[[str], None], name: str
) -> None:
    before = code_of("report")
    stray = copy_of_the_project / name
    stray.write_text("left by an editor")
    try:
        assert code_of("report") == before
    finally:
        stray.unlink()


@pytest.mark.parametrize("name", CHANGES_NO_RESULT)
def test_what_changes_no_result_makes_no_stage_run_again(change: Callable[[str], None], name: str) -> None:
    before = {stage: code_of(stage) for stage in RUN_BY}
    change(name)
    assert {stage: code_of(stage) for stage in RUN_BY} == before


@pytest.mark.parametrize(
    "name", sorted({name for stage in ("prepare", "search", "baseline", "confirm", "audit") for name in RUN_BY[stage]})
)
def test_changed_code_does_not_go_on_in_the_folder_with_the_old_trainings(
    change: Callable[[str], None], folder_now: Callable[[], str], name: str
) -> None:
    before = folder_now()
    change(name)
    assert folder_now() != before


@pytest.mark.parametrize("name", ["pipeline/stages/report.py", "pipeline/page/page.html.jinja", *CHANGES_NO_RESULT])
def test_what_decides_no_training_leaves_the_folder_to_go_on_in(
    change: Callable[[str], None], folder_now: Callable[[], str], name: str
) -> None:
    before = folder_now()
    change(name)
    assert folder_now() == before


def test_the_stages_of_a_sweep_stand_on_their_own_code(tmp_path: Path) -> None:
    config = SweepConfig(
        data=DataConfig("digits"), storage=f"{tmp_path}/sweeps", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", audit=1
    )
    with open_session(SweepSession, config, Console()) as session:
        assert {stage.name: stage.code for stage in sweep_graph(session)} == {name: code_of(name) for name in RUN_BY}
        session.tracker.close()


def test_the_published_configuration_trains_again_where_images_may_be_mirrored(tmp_path: Path) -> None:
    """Its recipe then mirrors them, although the images and their digest are the same."""
    config = SweepConfig(
        data=DataConfig("digits"), storage=f"{tmp_path}/sweeps", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"
    )
    with open_session(SweepSession, config, Console()) as session:
        before = sweep_graph(session).identities()
        session.dataset = replace(session.dataset, mirror_safe=not session.dataset.mirror_safe)
        after = sweep_graph(session).identities()
        session.tracker.close()
    assert before["prepare"] == after["prepare"]
    assert all(before[name].fingerprint != after[name].fingerprint for name in ("search", "baseline", "confirm"))
