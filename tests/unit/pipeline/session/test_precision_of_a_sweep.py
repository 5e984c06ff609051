"""Tests that a sweep continues in its folder's own precision, whatever others measured; stores and folders are real."""

import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cluster.allotment import Allotment
from pipeline.config import PrecisionChoice, SweepConfig
from pipeline.graph.reuse import ReuseDecision
from pipeline.graph.stage_memory import write_stage
from pipeline.results.stage_outputs import Prepared
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import sweep_graph
from pipeline.sweep_actions import _plan
from tests.deadline import DEADLINE
from vit.data.dataset import DataConfig
from vit.data.normalisation import Normalisation
from vit.training.precision import Precision

Open = Callable[..., AbstractContextManager[SweepSession]]


@pytest.fixture
def command(tmp_path: Path) -> Open:
    """Returns a function that opens the same command on a given machine, with a given tracking store."""

    def opened(
        machine: str, store: str = "store", precision: PrecisionChoice = "auto"
    ) -> AbstractContextManager[SweepSession]:
        config = SweepConfig(
            data=DataConfig("digits", train_limit=50), storage=f"{tmp_path}/{machine}", precision=precision,
            tracking_uri=f"sqlite:///{tmp_path}/{store}.db",
        )  # fmt: skip
        return open_session(SweepSession, config, Console())

    return opened


def finish_prepare(session: SweepSession, precision: Precision, at: int) -> None:
    """Records, without Ray, that `prepare` has measured this precision and ended at `at`, in ms since 1970."""
    session.memory.remember("precision", precision)
    session.memory.remember("finished", False)
    graph = sweep_graph(session)
    identity, folder = graph.identities()["prepare"], Path(tempfile.mkdtemp())
    write_stage(folder, graph["prepare"], identity, {}, Prepared(Normalisation((0.5,), (0.5,)), precision, 0, 0))
    tags = {
        "pipeline.kind": "stage", "pipeline.stage": "prepare", "pipeline.fingerprint": identity.fingerprint,
    }  # fmt: skip
    session.tracker.start_run("stage/prepare", "prepare", tags=tags)
    session.tracker.log("stage/prepare", files=folder)
    session.tracker.end_run("stage/prepare", "FINISHED", at=at)
    session.tracker.close()


def go_on(session: SweepSession) -> tuple[ReuseDecision, Precision]:
    """Returns whether `prepare` runs again, with the reason, and the precision in which the session trains."""
    session._allotment = Allotment(1, 0, concurrent=1)  # what a cluster of a single core would give
    verdict = _plan(session).decisions["prepare"]
    precision = session.precision
    session.memory.remember("finished", False)
    session.tracker.close()
    return verdict, precision


@pytest.mark.parametrize("machine", ["one", "other"])
def test_each_of_two_machines_goes_on_in_what_it_has_trained_in(command: Open, machine: str) -> None:
    with command("one") as one, command("other") as other:
        finish_prepare(one, "bf16", at=1_000)
        finish_prepare(other, "fp32", at=2_000)
    with command(machine) as again:
        verdict, precision = go_on(again)
    assert verdict.reused is not None
    assert verdict.reused.output.precision == precision == {"one": "bf16", "other": "fp32"}[machine]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_was_taken_up_stays_the_folders_in_another_store(command: Open, precision: Precision) -> None:
    with command("one") as one:
        finish_prepare(one, precision, at=1_000)
    with command("two") as two:
        assert go_on(two)[1] == precision
    with command("two", store="another") as two:
        verdict, kept = go_on(two)
    assert (verdict.reason, kept) == ("run, because it has not finished before", precision)


def test_what_another_machine_found_does_not_change_the_precision_of_a_folder(command: Open) -> None:
    with command("one") as one:
        finish_prepare(one, "bf16", at=1_000)
    with command("other", store="another") as other:
        finish_prepare(other, "fp32", at=2_000)
    with command("one", store="another") as again:
        verdict, precision = go_on(again)
    assert precision == "bf16"
    assert verdict.reason == "run, because this folder trains in bf16, not in fp32"


def test_a_precision_that_the_user_names_is_no_finding_of_the_folders(command: Open) -> None:
    with command("one", precision="fp32") as session:
        assert go_on(session)[1] == "fp32"
        assert session.memory.remembered("precision") is None


def test_where_the_measurement_finds_no_room_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, said = threading.Event(), list[str]()

    def say(session: SweepSession, text: str) -> None:
        said.append(text)
        told.set()

    def measured_once_told(*arguments: object) -> Precision:
        assert told.wait(DEADLINE)
        return "fp32"

    monkeypatch.setattr(SweepSession, "say", say)
    monkeypatch.setattr("pipeline.session.session.measure_faster_precision", measured_once_told)
    config = SweepConfig(
        data=DataConfig("digits", train_limit=50), storage=str(tmp_path), tracking_uri=f"sqlite:///{tmp_path}/store.db",
        stall_minutes=0.001,
    )  # fmt: skip
    with open_session(SweepSession, config, Console()) as session:
        session._allotment = Allotment(1, 0, 2)
        assert session.precision == "fp32"
    assert said[0].startswith("nothing has progressed for ")
