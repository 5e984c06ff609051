"""Tests that a sweep's run describes the newest command over its folder, and holds no password, in a real store."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console

from pipeline.cluster.allotment import Allotment
from pipeline.config import SweepConfig
from pipeline.errors import PipelineError, UsageError
from pipeline.report.summary import describe_search, up_to_date
from pipeline.results.stage_outputs import Searched
from pipeline.search.decisions import explain
from pipeline.session import lifecycle, sweep_session
from pipeline.session.lifecycle import open_session, running_command
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.trial_runs import SWEEP_RUN
from pipeline.trials.records import TrialResult
from tests.deadline import DEADLINE
from vit.data.dataset import DataConfig

SECRET = "postgresql://u:pa/ss@host/db"
SHOWN = "postgresql://***@host/db"


@contextmanager
def opened(folder: Path, allotment: Allotment, **options: Any) -> Iterator[SweepSession]:
    config = SweepConfig(
        data=DataConfig("digits", train_limit=50), storage=str(folder / "sweeps"), precision="fp32",
        tracking_uri=f"sqlite:///{folder}/mlflow.db", **options,
    )  # fmt: skip
    with open_session(SweepSession, config, Console()) as session:
        session._allotment = allotment
        yield session


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_session, "cluster_cores", lambda: 2.0)
    monkeypatch.setattr(lifecycle, "connected", lambda *cluster: nullcontext())


def started(folder: Path, allotment: Allotment, **options: Any) -> tuple[Run, str]:
    """Begins and ends a command; returns the sweep's run, and the name of its experiment."""
    with opened(folder, allotment, **options) as session:
        with running_command(session):
            session.tracker.close(timeout=DEADLINE)
        run = MlflowClient(session.tracker.uri).get_run(session.tracker.run_id(SWEEP_RUN))
        return run, session.tracker.experiment


def test_a_later_command_over_the_folder_is_the_one_that_the_tags_tell_of(tmp_path: Path) -> None:
    first, _ = started(tmp_path, Allotment(1, 0, 2), trials=32, finalists=2, seeds=2)
    run, experiment = started(tmp_path, Allotment(2, 0.5, 4, workers=3), trials=48, finalists=3, seeds=4, audit=5)
    assert run.info.run_id == first.info.run_id
    tags = {name: run.data.tags[f"pipeline.{name}"] for name in sweep_session.MAY_DIFFER}
    assert tags == {
        "trials": "48", "finalists": "3", "seeds": "4", "audit": "5",
        "workers_per_trial": "3", "cpus_per_trial": "2", "gpus_per_trial": "0.5", "max_concurrent": "4",
    }  # fmt: skip
    assert run.data.params == first.data.params | {"audit": "0"}
    assert run.data.params["trials"] == "32"  # MLflow changes no parameter
    with pytest.raises(UsageError, match=rf"^--why is 60, but {run.info.run_name}, of 48 trials, has not begun"):
        explain(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"), experiment, 60)


def test_neither_tag_nor_summary_nor_the_line_to_go_on_shows_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", "--tracking-uri", SECRET])
    with opened(tmp_path, Allotment(1, 0, 2)) as session:
        with pytest.raises(PipelineError), running_command(session):
            raise PipelineError(f"{SECRET} does not answer")
        run = session.tracker.client.get_run(session.tracker.run_id(SWEEP_RUN))
        session.config = replace(session.config, tracking_uri=SECRET)
        monkeypatch.setattr(session.tracker, "uri", SECRET)
        trial = TrialResult(session.specs[0], "failed", None, 0, 0.0, (), "run")
        search = describe_search(session, Searched((trial,), "fp32"))
        monkeypatch.setattr("pipeline.report.summary.summary_lines", lambda summary: [])
        monkeypatch.setattr("pipeline.report.summary._registry", lambda session, version: {})
        summary = up_to_date(session, {"registry": {"version": 1}})
    assert f"to go on: python -m pipeline.sweep --tracking-uri {SHOWN}" in capsys.readouterr().out
    assert run.data.tags["pipeline.command"] == f"python -m pipeline.sweep --tracking-uri {SHOWN}"
    assert run.data.tags["pipeline.error"] == f"PipelineError: {SHOWN} does not answer"
    assert search["sweep"]["tracking_uri"] == SHOWN
    assert summary["next"]["view"] == f"python -m pipeline.ui --tracking-uri {SHOWN}"
    assert "pa/ss" not in f"{run.data.tags}{search}{summary}"
