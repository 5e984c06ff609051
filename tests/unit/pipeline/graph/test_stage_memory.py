"""Tests that another process finds a stage's output again, on a real SQLite store."""

import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from pipeline.graph.graph import Graph
from pipeline.graph.reuse import Remembered
from pipeline.graph.stage import Identity, Stage
from pipeline.graph.stage_memory import STAGE_FILE, StageMemory, write_stage
from pipeline.results.audit_verdict import AuditedTrial, AuditVerdict, RungVerdict
from pipeline.results.confirmation import ConfirmedModel, FullLengthRun, TestScore
from pipeline.results.stage_outputs import Confirmed, Evaluated, Prepared, Registered, Searched
from pipeline.tracking.events import Status
from pipeline.tracking.tracker import Tracker
from pipeline.trials.records import BestEpoch, TrialResult
from pipeline.trials.rungs import Decision
from tune_spaces.trial_spec import TrialSpec
from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

_numbers = itertools.count()


def nothing(**inputs: Any) -> None:
    """Stands for the work of a stage, and never runs."""


STAGE = Stage("prepare", (), nothing, Prepared)
IDENTITY = Identity({"images": "sha256:1", "rate": 1e-4, "compile": False, "space": None}, {"vit.fit": "12"}, {})
OTHER = replace(IDENTITY, settings={"images": "sha256:2"})
OUTPUT = Prepared(Normalisation((0.1 + 0.2,), (1 / 3,)), "bf16", duplicates=3, validation_duplicates=5)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('memory')}/mlflow.db"


@pytest.fixture
def tracker(database: str) -> Iterator[Tracker]:
    """The tracker of a command of the owner `me`, in an experiment of its own."""
    with closing(Tracker(database, f"vit-{next(_numbers)}", "me")) as tracker:
        yield tracker


def keep(
    tracker: Tracker,
    output: Any = OUTPUT,
    stage: Stage = STAGE,
    identity: Identity = IDENTITY,
    status: Status | None = "FINISHED",
    at: int | None = None,
    inputs: dict[str, Any] | None = None,
) -> str:
    """Writes a stage's run as a sweep does, and returns its id."""
    key = f"stage/{stage.name}/{identity.fingerprint}"
    tags = {
        "pipeline.kind": "stage", "pipeline.stage": stage.name, "pipeline.fingerprint": identity.fingerprint,
    }  # fmt: skip
    tracker.start_run(key, stage.name, tags=tags)
    folder = Path(tempfile.mkdtemp())
    write_stage(folder, stage, identity, inputs or {}, output)
    tracker.log(key, files=folder)
    if status is not None:
        tracker.end_run(key, status, at=at)
    return tracker.run_id(key)


def memory(tracker: Tracker, owner: str = "me") -> StageMemory:
    """Returns the memory as another process opens it."""
    return StageMemory(MlflowClient(tracker.uri), tracker.experiment, owner)


def found(tracker: Tracker, own: bool = False, owner: str = "me", identity: Identity = IDENTITY) -> Remembered | None:
    return memory(tracker, owner).find(STAGE, identity.fingerprint, {}, own)


def stage_file(tracker: Tracker, run_id: str) -> Path:
    return Path(tracker.client.get_run(run_id).info.artifact_uri.removeprefix("file://"), STAGE_FILE)


def test_nothing_is_remembered_of_an_experiment_that_is_not_there(tracker: Tracker) -> None:
    nowhere = StageMemory(MlflowClient(tracker.uri), "vit-nowhere", "me")
    keep(tracker)
    assert nowhere.find(STAGE, IDENTITY.fingerprint, {}, own=False) is None
    assert nowhere.latest(STAGE) is None


def test_a_finished_stage_is_found_with_all_that_was_written(tracker: Tracker) -> None:
    run_id = keep(tracker, at=1_700_000_000_500)
    assert found(tracker) == Remembered(run_id, 1_700_000_000.5, IDENTITY, OUTPUT)
    assert memory(tracker).latest(STAGE) == IDENTITY


def test_another_tracker_of_the_same_command_goes_on_with_the_same_run(tracker: Tracker) -> None:
    run_id = keep(tracker)
    with closing(Tracker(tracker.uri, tracker.experiment, "me")) as second:
        assert keep(second, replace(OUTPUT, duplicates=4)) == run_id
    remembered = found(tracker)
    assert remembered is not None
    assert remembered.output.duplicates == 4


@pytest.mark.parametrize("status", ["FAILED", "KILLED", None])
def test_a_stage_that_did_not_finish_is_no_hit(tracker: Tracker, status: Status | None) -> None:
    keep(tracker, status=status)
    assert found(tracker) is None
    assert memory(tracker).latest(STAGE) is None


def test_another_fingerprint_is_no_hit_but_tells_what_was_computed(tracker: Tracker) -> None:
    keep(tracker, identity=OTHER)
    assert found(tracker) is None
    assert memory(tracker).latest(STAGE) == OTHER
    assert found(tracker, identity=OTHER) is not None


def test_another_stage_is_no_hit(tracker: Tracker) -> None:
    keep(tracker, stage=replace(STAGE, name="prepare-more"))
    assert found(tracker) is None
    assert memory(tracker).latest(STAGE) is None


def test_another_experiment_is_no_hit(tracker: Tracker) -> None:
    with closing(Tracker(tracker.uri, f"vit-{next(_numbers)}", "me")) as elsewhere:
        keep(elsewhere)
        assert found(elsewhere) is not None
    assert found(tracker) is None


def test_of_two_others_the_newest_counts(tracker: Tracker) -> None:
    with closing(Tracker(tracker.uri, tracker.experiment, "other")) as other:
        newer = keep(other, replace(OUTPUT, duplicates=2), at=2_000)
        older = keep(tracker, replace(OUTPUT, duplicates=1), at=1_000)
        keep(other, identity=OTHER, at=500)
    remembered = found(tracker, owner="a third")
    assert remembered is not None
    assert (remembered.run_id, remembered.output.duplicates) == (newer, 2)
    assert memory(tracker).latest(STAGE) == IDENTITY
    tracker.client.delete_run(newer)
    remembered = found(tracker, owner="a third")
    assert remembered is not None
    assert remembered.run_id == older


def test_the_commands_own_run_counts_before_anothers_newer_one(tracker: Tracker) -> None:
    """The command's folder holds what belongs to its own run, and nothing of the other's."""
    mine = keep(tracker, at=1_000)
    with closing(Tracker(tracker.uri, tracker.experiment, "other")) as other:
        keep(other, replace(OUTPUT, precision="fp32"), at=2_000)
    remembered = found(tracker)
    assert remembered is not None
    assert (remembered.run_id, remembered.output.precision) == (mine, "bf16")


def test_where_only_its_own_work_counts_anothers_does_not(tracker: Tracker) -> None:
    with closing(Tracker(tracker.uri, tracker.experiment, "me-too")) as other:
        keep(other, at=2_000)
    assert found(tracker, own=True) is None
    assert found(tracker, own=False) is not None
    mine = keep(tracker, at=1_000)
    remembered = found(tracker, own=True)
    assert remembered is not None
    assert remembered.run_id == mine
    assert found(tracker, own=True, owner="m") is None


@pytest.mark.parametrize("left", [0, 1, 100])
def test_a_file_that_was_cut_is_a_miss(tracker: Tracker, left: int) -> None:
    file = stage_file(tracker, keep(tracker))
    file.write_bytes(file.read_bytes()[:left])
    assert found(tracker) is None
    assert memory(tracker).latest(STAGE) is None


def test_a_file_that_was_removed_is_a_miss(tracker: Tracker) -> None:
    stage_file(tracker, keep(tracker)).unlink()
    assert found(tracker) is None
    assert memory(tracker).latest(STAGE) is None


@pytest.mark.parametrize("content", ["{}", "[]", '{"identity": {"settings": {}}, "output": 3}'])
def test_a_file_of_another_shape_is_a_miss(tracker: Tracker, content: str) -> None:
    stage_file(tracker, keep(tracker)).write_text(content)
    assert found(tracker) is None
    assert memory(tracker).latest(STAGE) is None


def test_a_store_in_trouble_is_no_miss(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise everything would run again because a server was unreachable for a minute."""
    keep(tracker)

    def in_trouble(*arguments: object) -> None:
        raise MlflowException("try later", error_code=TEMPORARILY_UNAVAILABLE)

    for method in ("list_artifacts", "download_artifacts"):
        with monkeypatch.context() as patch, pytest.raises(MlflowException, match="try later"):
            patch.setattr(MlflowClient, method, in_trouble)
            found(tracker)


def test_an_output_of_another_shape_is_a_miss(tracker: Tracker) -> None:
    file = stage_file(tracker, keep(tracker))
    kept = json.loads(file.read_text())
    del kept["output"]["duplicates"]
    file.write_text(json.dumps(kept))
    assert found(tracker) is None
    assert memory(tracker).latest(STAGE) == IDENTITY


SPEC = TrialSpec(3, ViTConfig(depth=2, global_pool="avg"), Recipe(learning_rate=0.1 / 3, flip=False), seed=7)
DECISIONS = (Decision(1, 0.1 + 0.2, None, 1, 1, True), Decision(3, 0.4, 1 / 3, 2, 5, False))
BEST = BestEpoch(2, 2 / 3, 0.1)
TRIALS = (
    TrialResult(SPEC, "asha", BEST, 3, 12.5, DECISIONS, "a1"),
    TrialResult(replace(SPEC, index=0), "failed", None, 0, 0.0, (), "b2", "out of memory: 3 of 4 GB"),
)
RUNS = (
    FullLengthRun(0, BEST, "c3", "s3://bucket/trials", "digest"),
    FullLengthRun(1, BestEpoch(1, 0.5, float("inf")), "d4", "", "digest"),
)
MODELS = (
    ConfirmedModel(SPEC, 0.75, RUNS),
    ConfirmedModel(replace(SPEC, index=0), None, RUNS[:1], "seed 1 diverged"),
)
SCORES = {run_id: TestScore(3, 4, (1.0, None, 2 / 3)) for run_id in ("c3", "d4")}
AUDIT = AuditVerdict(
    (RungVerdict(1, None, 2), RungVerdict(3, -0.5, 4)), (AuditedTrial(3, 1, 0.1, 0.9),), 0.8, (3,), None
)


@pytest.mark.parametrize(
    ("output", "output_type"),
    [
        (OUTPUT, Prepared),
        (Searched(TRIALS, "bf16"), Searched),
        (MODELS[0], ConfirmedModel),
        (MODELS[1], ConfirmedModel),
        (Confirmed(MODELS), Confirmed),
        (Evaluated(SCORES, test_set_reads=5), Evaluated),
        (AUDIT, AuditVerdict),
        (Registered(17, "c3"), Registered),
        ({"figures": [1, 0.5, None, {"a": "b"}]}, dict),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_an_output_comes_back_equal(tracker: Tracker, output: Any, output_type: type) -> None:
    stage = replace(STAGE, output_type=output_type)
    keep(tracker, output, stage)
    remembered = memory(tracker).find(stage, IDENTITY.fingerprint, {}, own=False)
    assert remembered is not None
    assert remembered.output == output
    assert type(remembered.output) is output_type


def test_what_rests_on_another_run_of_an_input_is_no_hit(tracker: Tracker) -> None:
    """Two searches with one fingerprint may differ; what was confirmed of one does not hold for the other."""
    graph = Graph([replace(STAGE, output_type=int), Stage("confirm", ("prepare",), nothing, str)])
    first, second = graph
    identities = graph.identities()
    keep(tracker, 1, first, identities["prepare"])
    of_the_first = keep(tracker, "of 1", second, identities["confirm"], inputs={"prepare": 1})
    assert graph.plan(memory(tracker, "somebody"), {}, now=0)["confirm"].reused is not None
    with closing(Tracker(tracker.uri, tracker.experiment, "another")) as other:
        keep(other, 2, first, identities["prepare"])
    plan = graph.plan(memory(tracker, "somebody"), {}, now=0)
    assert plan["prepare"].reused is not None and plan["prepare"].reused.output == 2
    assert plan["confirm"].reused is None
    assert plan["confirm"].reason == "run, because it was computed from another run of prepare"
    with closing(Tracker(tracker.uri, tracker.experiment, "a third")) as third:
        keep(third, 1, first, identities["prepare"])
    reused = graph.plan(memory(tracker, "somebody"), {}, now=0)["confirm"].reused
    assert reused is not None and reused.run_id == of_the_first


def test_a_graph_asks_it_why_a_stage_runs(tracker: Tracker) -> None:
    def chain(images: str) -> Graph:
        return Graph([replace(STAGE, settings={"images": images}), Stage("search", ("prepare",), nothing, int)])

    before = chain("sha256:1")
    run_ids = [
        keep(tracker, output, stage, before.identities()[stage.name], at=1_000, inputs=inputs)
        for stage, output, inputs in zip(before, (OUTPUT, 1), ({}, {"prepare": OUTPUT}), strict=True)
    ]
    plan = before.plan(memory(tracker), {}, now=121)
    assert [decision.reason for decision in plan.values()] == [
        f"cached from run {run_id[:8]} (2 minutes ago)" for run_id in run_ids
    ]
    plan = chain("sha256:2").plan(memory(tracker), {}, now=121)
    assert [decision.reason for decision in plan.values()] == [
        "run, because images changed (sha256:1 -> sha256:2)", "run, because prepare runs",
    ]  # fmt: skip
