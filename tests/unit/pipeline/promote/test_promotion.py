"""Tests of promotion with real models in a real registry: the champion, the records, and what a kill leaves."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import cast

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.errors import GateRefusedError, PipelineError, UsageError
from pipeline.promote import promotion
from pipeline.promote.contenders import find_contenders
from pipeline.promote.gate import GateResult, run_gate
from pipeline.promote.gate_config import GateConfig
from pipeline.promote.history import read_history
from pipeline.promote.ledger import Decision
from pipeline.promote.ledger_store import LedgerStore, LostRaceError
from pipeline.promote.promotion import Promotion, promote
from pipeline.promote.test_images import load_test_images
from pipeline.tracking.test_set_reads import count_test_set_reads
from pipeline.trials.predictions import Predictions
from tests.unit.pipeline.promote.killed_client import KilledClient, KilledError
from tests.unit.pipeline.promote.registered_models import IMAGES, Versions, digits, new_model


def run(versions: Versions, client: object = None, **options: object) -> Promotion:
    # The limit is loose, since a machine that is busy with other work may answer slowly; other tests cover latency.
    config = GateConfig(max_latency_ratio=100)
    used = cast(MlflowClient, client or versions.client)
    return promote(used, versions.name, config, lambda _: None, **options)  # type: ignore[arg-type]


def decisions(versions: Versions) -> list[Decision]:
    return [entry.decision for entry in LedgerStore(versions.client, versions.name).read_whole().entries]


def gate_runs(versions: Versions) -> list[Run]:
    home = versions.client.get_experiment_by_name(versions.name)
    assert home is not None
    found = versions.client.search_runs(
        [home.experiment_id], "tags.`pipeline.kind` = 'gate'", order_by=["attributes.start_time ASC"]
    )
    return list(found)


def outcomes(promotion: Promotion) -> dict[str, str]:
    return {rule.rule: rule.outcome for rule in promotion.verdict.rules}


def test_the_first_challenger_becomes_champion_without_a_comparison(versions: Versions, fair: Path) -> None:
    versions.add(fair)
    done = run(versions)
    assert versions.aliases() == {"champion": 1}
    (decision,) = decisions(versions)
    assert (decision.event, decision.from_version, decision.to_version) == ("promoted", None, 1)
    assert decision.why.startswith("first champion, accuracy 94.43% (339 of 359)")
    assert set(outcomes(done).values()) == {"pass", "not applicable"}


def test_a_proven_better_one_replaces_it_and_all_is_kept(versions: Versions, fair: Path, good: Path) -> None:
    versions.make_champion(versions.add(fair))
    versions.add(good, correct=1)  # its tags do not count: the gate scores it again
    reads = count_test_set_reads(versions.client, digits().test_digest)
    done = run(versions)
    assert versions.aliases() == {"champion": 2, "previous": 1}
    (decision,) = decisions(versions)
    assert (decision.event, decision.from_version, decision.to_version) == ("promoted", 1, 2)
    assert decision.why.startswith("better: 359 against 339 of 359 right, +5.57 points")
    assert decision.from_files is not None
    assert decision.from_files != decision.to_files

    (kept,) = gate_runs(versions)
    assert kept.info.status == "FINISHED"
    assert kept.data.metrics["gate/challenger/accuracy"] == 1
    assert kept.data.metrics["gate/champion/accuracy"] == 339 / IMAGES
    assert kept.info.run_id == decision.gate_run_id
    assert count_test_set_reads(versions.client, digits().test_digest) == reads + 1 == done.verdict.test_set_reads
    with tempfile.TemporaryDirectory() as folder:
        files = Path(versions.client.download_artifacts(kept.info.run_id, "gate", folder))
        content = (files / "verdict.json").read_bytes()
        assert decision.table == f"sha256:{hashlib.sha256(content).hexdigest()}"
        predictions = Predictions.read(files / "champion_predictions.csv")
        assert predictions is not None
        assert predictions.correct.tolist() == [False] * 20 + [True] * (IMAGES - 20)
    (with_version,) = (versions.files_of(2) / "gate").iterdir()
    assert (with_version / "verdict.json").read_bytes() == content
    assert "| accuracy | pass | better: 359 against 339" in (with_version / "verdict.md").read_text()
    assert json.loads(content)["challenger"]["files"] == decision.to_files


def test_one_image_more_is_not_proven(versions: Versions, fair: Path, nearly_fair: Path) -> None:
    versions.make_champion(versions.add(fair))
    versions.add(nearly_fair)
    done = run(versions)
    assert versions.aliases() == {"champion": 1, "challenger": 2}
    assert done.refusal is not None
    assert done.refusal.startswith(
        f"version 2 of {versions.name} is not promoted: accuracy: not proven: 340 against 339 of 359 right, +0.28"
    )
    (decision,) = decisions(versions)
    assert (decision.event, decision.from_version, decision.to_version) == ("refused", 1, 2)
    assert list((versions.files_of(2) / "gate").iterdir())


def test_forced_it_is_promoted_and_that_is_written_down(versions: Versions, fair: Path, nearly_fair: Path) -> None:
    versions.make_champion(versions.add(fair))
    versions.add(nearly_fair)
    done = run(versions, force_reason="the customer insists")
    assert (done.refusal, versions.aliases()) == (None, {"champion": 2, "previous": 1})
    (decision,) = decisions(versions)
    assert decision.event == "forced"
    assert decision.why.startswith("the customer insists (in spite of accuracy: not proven: 340 against 339")


def test_what_passes_is_not_called_forced(versions: Versions, fair: Path) -> None:
    versions.add(fair)
    run(versions, force_reason="hurry")
    assert decisions(versions)[0].event == "promoted"


def test_a_dry_run_counts_as_a_read_and_changes_nothing_else(versions: Versions, fair: Path, good: Path) -> None:
    versions.make_champion(versions.add(fair))
    versions.add(good)
    reads = count_test_set_reads(versions.client, digits().test_digest)
    assert run(versions, is_dry_run=True).verdict.passes
    assert versions.aliases() == {"champion": 1, "challenger": 2}
    assert decisions(versions) == []
    assert not (versions.files_of(2) / "gate").exists()
    assert [found.data.tags["pipeline.gate"] for found in gate_runs(versions)] == ["passed"]
    assert count_test_set_reads(versions.client, digits().test_digest) == reads + 1


def test_robustness_is_measured_where_it_is_asked_for(versions: Versions, fair: Path, good: Path) -> None:
    versions.make_champion(versions.add(fair))
    versions.add(good)
    done = promote(
        versions.client, versions.name, GateConfig(robustness=True, max_latency_ratio=100), print, is_dry_run=True
    )
    (rule,) = [rule for rule in done.verdict.rules if rule.rule == "robustness"]
    assert rule.outcome == "pass"
    # Both models still recognise a digit with a little noise, so the champion is wrong about the same ones as before.
    assert rule.numbers["by_kind"]["noise 1"] == [1.0, 339 / IMAGES]


def test_nothing_to_promote(versions: Versions, fair: Path) -> None:
    with pytest.raises(GateRefusedError, match=r"no challenger to promote \(there is no champion either"):
        run(versions)
    versions.make_champion(versions.add(fair))
    with pytest.raises(GateRefusedError, match=r"no challenger to promote \(version 1 is the champion"):
        run(versions)
    versions.make_challenger(1)
    with pytest.raises(GateRefusedError, match="is the champion already"):
        run(versions)
    assert (decisions(versions), gate_runs(versions)) == ([], [])


def test_versions_that_cannot_be_compared_do_not_meet(versions: Versions, fair: Path) -> None:
    versions.add_bare({"pipeline.test_correct": "many"})
    with pytest.raises(GateRefusedError, match="it has no test figures"):
        run(versions)
    versions.make_champion(versions.add(fair))
    versions.add(fair, tags={"pipeline.test_digest": "sha256:other"})
    with pytest.raises(GateRefusedError, match=rf"different test images \(sha256:other and {digits().test_digest}\)"):
        run(versions)
    assert gate_runs(versions) == []


def test_images_that_are_not_at_hand_are_bad_usage_and_count_as_no_read(versions: Versions, fair: Path) -> None:
    source = {"pipeline.data_source": json.dumps({"dataset": "/nowhere/flowers"}), "pipeline.dataset": "flowers"}
    versions.add(fair, tags=source)
    with pytest.raises(UsageError, match=r"test images of version 1 cannot be loaded .*--dataset PATH, or set VIT"):
        run(versions)
    assert gate_runs(versions) == []


def test_other_images_than_it_was_measured_on_are_refused_by_both_digests(versions: Versions, fair: Path) -> None:
    versions.add(fair, tags={"pipeline.test_digest": "sha256:other"})
    with pytest.raises(
        GateRefusedError, match=rf"digest sha256:other, but those of digits have {digits().test_digest}"
    ):
        run(versions)


def test_an_older_version_names_its_data_set_only(versions: Versions, fair: Path) -> None:
    versions.add(fair)
    versions.client.delete_model_version_tag(versions.name, "1", "pipeline.data_source")
    run(versions)
    assert versions.aliases() == {"champion": 1}


def test_a_challenger_whose_files_are_gone_or_broken_is_refused(versions: Versions, fair: Path) -> None:
    for wrong, said in ((_remove_program, "version 1 of .* has no data"), (_break_program, "cannot be loaded")):
        version = versions.add(fair)
        wrong(versions.files_of(version))
        with pytest.raises(GateRefusedError, match=said if version == 1 else f"version {version} {said}"):
            run(versions)
    assert decisions(versions) == []
    assert {found.info.status for found in gate_runs(versions)} == {"FAILED"}


def _remove_program(files: Path) -> None:
    for path in (files / "data").iterdir():
        path.unlink()


def _break_program(files: Path) -> None:
    (files / "data" / "model.pt2").write_bytes(b"")


def test_a_champion_that_was_changed_since_it_was_promoted_is_nothing_to_compare_with(
    versions: Versions, fair: Path, good: Path
) -> None:
    versions.add(fair)
    run(versions)
    (versions.files_of(1) / "MLmodel").open("a").write("# changed\n")
    versions.add(good)
    with pytest.raises(GateRefusedError, match=r"files of the champion, version 1 of .* have changed since"):
        run(versions)
    assert versions.aliases() == {"champion": 1, "challenger": 2}


def test_a_broken_ledger_decides_nothing(versions: Versions, fair: Path, good: Path) -> None:
    versions.add(fair)
    run(versions)
    versions.client.set_registered_model_tag(versions.name, "pipeline.ledger_mark", f"000007 {'0' * 64}")
    versions.add(good)
    with pytest.raises(PipelineError, match="BROKEN: entry 000007 was removed"):
        run(versions)
    assert versions.aliases() == {"champion": 1, "challenger": 2}


@pytest.fixture(scope="module")
def judged(uri: str, fair: Path, good: Path) -> GateResult:
    """The result of the gate for the challenger `good`, version 2, and the champion `fair`, version 1."""
    versions = new_model(uri)
    versions.make_champion(versions.add(fair))
    versions.add(good)
    contenders = find_contenders(versions.client, versions.name)
    images = load_test_images(contenders.challenger, None, contenders.test_digest)
    return run_gate(versions.client, contenders, images, GateConfig(max_latency_ratio=100))


@pytest.fixture
def ready(versions: Versions, fair: Path, good: Path, judged: GateResult, monkeypatch: pytest.MonkeyPatch) -> Versions:
    """The same two versions. The gate only returns its real result `judged`: these tests are about what follows."""
    versions.make_champion(versions.add(fair))
    versions.add(good)
    monkeypatch.setattr(promotion, "run_gate", lambda *_: judged)
    return versions


TO_THE_ENTRY, ALL = 5, 9
"""Numbers of writes: the verdict beside the version, three that create the ledger, and the entry; in `ALL`, also three
of aliases, and the mark."""


@pytest.mark.parametrize("writes", range(ALL))
def test_a_kill_between_any_two_writes_leaves_what_the_next_command_ends(ready: Versions, writes: int) -> None:
    said: list[str] = []
    with pytest.raises(KilledError):
        run(ready, KilledClient(ready.client, writes))
    is_decided = writes >= TO_THE_ENTRY
    assert ready.aliases()["champion"] in ((1, 2) if is_decided else (1,))
    assert [decision.to_version for decision in decisions(ready)] == ([2] if is_decided else [])
    shown = "\n".join(read_history(ready.client, ready.name).lines)
    assert ("entry 000001 was recorded but not fully carried out" in shown) == is_decided
    if is_decided:
        with pytest.raises(GateRefusedError, match=r"no challenger to promote \(version 2 is the champion"):
            promote(ready.client, ready.name, GateConfig(), said.append)
        assert len(said) == 1
        assert said[0].endswith("was not fully carried out and is completed now: version 2 is the champion")
    else:
        run(ready)
    assert ready.aliases() == {"champion": 2, "previous": 1}
    assert [decision.to_version for decision in decisions(ready)] == [2]
    assert LedgerStore(ready.client, ready.name).read_whole().not_carried_out == ()


def test_these_are_all_its_writes(ready: Versions) -> None:
    run(ready, KilledClient(ready.client, ALL))
    assert ready.aliases() == {"champion": 2, "previous": 1}


def test_what_a_killed_command_decided_about_a_version_that_is_gone_is_let_be(ready: Versions) -> None:
    said: list[str] = []
    with pytest.raises(KilledError):
        run(ready, KilledClient(ready.client, TO_THE_ENTRY))
    ready.client.delete_model_version(ready.name, "2")
    with pytest.raises(GateRefusedError, match=r"no challenger to promote \(version 1 is the champion"):
        promote(ready.client, ready.name, GateConfig(), said.append)
    assert said[0].endswith("since version 2 is gone; the champion stays as it is")
    assert ready.aliases() == {"champion": 1}
    assert LedgerStore(ready.client, ready.name).read_whole().not_carried_out == ()


def test_a_champion_that_is_moved_by_hand_during_the_gate_stays(
    ready: Versions, judged: GateResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(*_: object) -> GateResult:
        ready.client.set_registered_model_alias(ready.name, "champion", "2")
        return judged

    monkeypatch.setattr(promotion, "run_gate", move)
    with pytest.raises(LostRaceError, match="the champion was moved in the meantime, from version 1 to version 2"):
        run(ready)
    assert decisions(ready) == []


def test_a_promotion_during_the_gate_wins(ready: Versions, judged: GateResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry is written, its aliases are not: the other command, which still sees the old champion, fails."""

    def be_quicker(*_: object) -> GateResult:
        monkeypatch.setattr(promotion, "run_gate", lambda *_: judged)
        with pytest.raises(KilledError):
            run(ready, KilledClient(ready.client, TO_THE_ENTRY))
        return judged

    monkeypatch.setattr(promotion, "run_gate", be_quicker)
    with pytest.raises(LostRaceError, match=r"another command changed the champion .*: .* made version 2 of"):
        run(ready)
    assert [decision.to_version for decision in decisions(ready)] == [2]


def test_a_challenger_that_is_registered_during_the_gate_stays_one(
    ready: Versions, judged: GateResult, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "run_gate", lambda *_: (ready.add(good), judged)[1])
    run(ready)
    assert ready.aliases() == {"champion": 2, "previous": 1, "challenger": 3}


def test_aliases_moved_by_hand_after_a_decision_are_left_alone_and_told(ready: Versions) -> None:
    run(ready)
    ready.client.set_registered_model_alias(ready.name, "champion", "1")
    with pytest.raises(GateRefusedError, match="version 1 is the champion"):
        run(ready)
    assert ready.aliases()["champion"] == 1
    assert read_history(ready.client, ready.name).lines[-1] == (
        "the alias champion was moved by hand: version 1 has it, but by the ledger it belongs to version 2"
    )
