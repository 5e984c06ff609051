"""Tests that a refusal names the flag, the value and the rule, and which tracking URI takes precedence."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import SweepConfig, TrainConfig, TrialResources, experiment_name, resolve_tracking_uri
from pipeline.errors import UsageError

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SweepConfig(trials=0), "--trials is 0, but must be at least 1"),
        (lambda: SweepConfig(max_epochs=0), "--max-epochs is 0, but must be at least 1"),
        (lambda: SweepConfig(grace_epochs=-1), "--grace-epochs is -1, but must be at least 1"),
        (lambda: SweepConfig(reduction_factor=1), "--reduction-factor is 1, but must be at least 2"),
        (lambda: SweepConfig(fuse=1), "--fuse is 1, but must be at least 2"),
        (lambda: SweepConfig(fuse=4, search="tpe"), "--fuse is 4, but must be auto or off with --search tpe"),
        (
            lambda: SweepConfig(fuse=4, workers_per_trial=2),
            "--fuse is 4, but must be auto or off where --workers-per-trial is above 1",
        ),
        (lambda: SweepConfig(seed=-1), "--seed is -1, but must be at least 0 and below 2**63"),
        (lambda: SweepConfig(seed=2**63), f"--seed is {2**63}, but must be at least 0 and below 2**63"),
        (
            lambda: SweepConfig(max_epochs=4, grace_epochs=5),
            "--grace-epochs is 5, but must be at most --max-epochs 4",
        ),
        (
            lambda: SweepConfig(precision="fp16"),  # type: ignore[arg-type]
            "--precision is 'fp16', but must be one of ('auto', 'fp32', 'bf16')",
        ),
        (
            lambda: SweepConfig(export="pdf"),  # type: ignore[arg-type]
            "--export is 'pdf', but must be one of none, onnx",
        ),
        (lambda: TrainConfig(export="onnx"), "--export is onnx, but must be none without --register"),
        (lambda: TrialResources(cpus_per_trial=0), "--cpus-per-trial is 0, but must be above 0"),
        (lambda: TrialResources(cpus_per_trial=-0.5), "--cpus-per-trial is -0.5, but must be above 0"),
        (lambda: TrialResources(cpus_per_trial=NAN), "--cpus-per-trial is nan, but must be above 0"),
        (
            lambda: TrialResources(gpus_per_trial=-1),
            "--gpus-per-trial is -1, but must be 0, a fraction of one, or a whole number",
        ),
        (
            lambda: TrialResources(gpus_per_trial=1.5),
            "--gpus-per-trial is 1.5, but must be 0, a fraction of one, or a whole number",
        ),
        (
            lambda: TrialResources(gpus_per_trial=NAN),
            "--gpus-per-trial is nan, but must be 0, a fraction of one, or a whole number",
        ),
        (
            lambda: TrialResources(gpus_per_trial=INFINITE),
            "--gpus-per-trial is inf, but must be 0, a fraction of one, or a whole number",
        ),
        (lambda: TrialResources(max_concurrent=0), "--max-concurrent is 0, but must be at least 1"),
    ],
)
def test_a_refusal_names_flag_value_and_rule(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        build()
    assert str(refused.value) == message


def test_the_edges_of_the_rules_are_allowed() -> None:
    SweepConfig(trials=1, max_epochs=4, grace_epochs=4, reduction_factor=2, seed=0, precision="bf16")
    for gpus in (None, 0, 0.25, 1, 2):
        TrialResources(cpus_per_trial=0.1, gpus_per_trial=gpus, max_concurrent=1)


def test_the_tracking_uri_is_the_flag_then_the_environment_then_a_database_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_tracking_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/of.db")
    assert resolve_tracking_uri(None) == f"sqlite:///{tmp_path}/runs/of.db"
    assert resolve_tracking_uri("http://host:5000") == "http://host:5000"
    assert resolve_tracking_uri("sqlite:////data/m.db") == "sqlite:////data/m.db"


def test_the_experiment_is_named_after_the_data_set() -> None:
    assert experiment_name("digits") == "vit-digits"


@pytest.mark.parametrize("gpus", [0.5, 1.5])
def test_workers_of_one_trial_share_no_gpu(gpus: float) -> None:
    with pytest.raises(UsageError, match=r"^--gpus-per-trial is .*, but must be"):
        SweepConfig(workers_per_trial=2, resources=TrialResources(gpus_per_trial=gpus))
    SweepConfig(workers_per_trial=2, resources=TrialResources(gpus_per_trial=2))


def test_an_export_whose_packages_are_missing_is_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert SweepConfig(export="onnx").export == "onnx"
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"^--export is onnx, but onnxscript must be installed for it: pip install .*"):
        SweepConfig(export="onnx")
    assert SweepConfig().export == "none"
