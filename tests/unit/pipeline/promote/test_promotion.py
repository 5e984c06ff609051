"""The gate, roll-back and history, on a real registry."""

from collections.abc import Callable
from typing import cast

import pytest
from mlflow import MlflowClient

from pipeline.errors import GateRefusedError, UsageError
from pipeline.registry import gate
from pipeline.registry import versions as registry
from tests.unit.pipeline.registry.model_versions import Versions, new_model


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('promote')}/mlflow.db"


@pytest.fixture
def versions(uri: str) -> Versions:
    return new_model(uri)


def test_the_first_challenger_becomes_champion(versions: Versions) -> None:
    versions.add(10)
    decision = versions.promote()
    assert (decision.event, decision.version, decision.replaced) == ("promote", 1, None)
    assert "first champion" in decision.reason
    assert versions.aliases() == {"champion": 1}


def test_more_right_answers_win(versions: Versions) -> None:
    versions.add(10)
    versions.promote()
    versions.add(11)
    decision = versions.promote()
    assert (decision.version, decision.replaced) == (2, 1)
    assert decision.reason == "11 of 100 test images right, more than the 10 of the champion, version 1"
    assert versions.aliases() == {"champion": 2, "previous": 1}


@pytest.mark.parametrize("correct", [9, 10])
def test_equal_or_fewer_right_answers_lose(versions: Versions, correct: int) -> None:
    versions.add(10)
    versions.promote()
    versions.add(correct)
    with pytest.raises(GateRefusedError, match=f"{correct} of 100 test images right, not more than the 10 of"):
        versions.promote()
    assert versions.aliases() == {"champion": 1, "challenger": 2}
    refused = gate.history(versions.client, versions.name)[-1]
    assert (refused.event, refused.version, refused.replaced) == ("refused", 2, None)
    assert refused.measured is not None
    assert refused.measured.test_correct == correct


def test_results_on_different_test_images_do_not_compare(versions: Versions) -> None:
    versions.add(10)
    versions.promote()
    versions.add(99, digest="sha256:other")
    with pytest.raises(GateRefusedError, match=r"measured on different test images .*run a sweep on the champion's"):
        versions.promote()
    assert versions.aliases() == {"champion": 1, "challenger": 2}


def test_a_version_without_figures_is_not_promoted(versions: Versions) -> None:
    versions.add_bare({"pipeline.test_correct": "many"})
    with pytest.raises(GateRefusedError, match="it has no test figures"):
        versions.promote()
    assert versions.aliases() == {"challenger": 1}


def test_nothing_to_promote(versions: Versions) -> None:
    with pytest.raises(GateRefusedError, match=r"no challenger to promote \(there is no champion either"):
        versions.promote()
    versions.add(10)
    versions.promote()
    with pytest.raises(GateRefusedError, match=r"no challenger to promote \(version 1 is the champion"):
        versions.promote()
    versions.client.set_registered_model_alias(versions.name, registry.CHALLENGER, "1")
    with pytest.raises(GateRefusedError, match="is the champion already"):
        versions.promote()


def test_no_such_model(versions: Versions) -> None:
    for act in (gate.promote, gate.rollback, gate.history, registry.list_versions):
        with pytest.raises(UsageError, match="there is no registered model vit-none"):
            act(versions.client, "vit-none")


def test_rolling_back_twice_returns(versions: Versions) -> None:
    versions.add(10)
    versions.promote()
    with pytest.raises(UsageError, match="no way back"):
        versions.rollback()
    versions.add(11)
    versions.promote()
    decision = versions.rollback()
    assert (decision.event, decision.version, decision.replaced) == ("rollback", 1, 2)
    assert versions.aliases() == {"champion": 1, "previous": 2}
    versions.rollback()
    assert versions.aliases() == {"champion": 2, "previous": 1}


@pytest.mark.parametrize("calls_before_the_kill", [0, 1, 2])
def test_a_kill_between_the_steps_leaves_a_champion(versions: Versions, calls_before_the_kill: int) -> None:
    versions.add(10)
    versions.promote()
    versions.add(11)
    with pytest.raises(KeyboardInterrupt):
        gate.promote(cast(MlflowClient, _Killed(versions.client, calls_before_the_kill)), versions.name)
    assert versions.aliases()["champion"] == (1 if calls_before_the_kill < 2 else 2)
    if calls_before_the_kill < 2:
        versions.promote()
    assert versions.aliases()["champion"] == 2
    assert versions.aliases()["previous"] == 1


@pytest.mark.parametrize("calls_before_the_kill", [0, 1, 2])
def test_a_roll_back_that_is_killed_between_its_steps_is_ended_by_the_next(
    versions: Versions, calls_before_the_kill: int
) -> None:
    for correct in (10, 11):
        versions.add(correct)
        versions.promote()
    with pytest.raises(KeyboardInterrupt):
        gate.rollback(cast(MlflowClient, _Killed(versions.client, calls_before_the_kill)), versions.name)
    decision = versions.rollback()
    assert (decision.event, decision.version, decision.replaced) == ("rollback", 1, 2)
    assert versions.aliases() == {"champion": 1, "previous": 2}
    assert versions.rollback().version == 2


def test_a_challenger_that_is_registered_during_a_promotion_stays_one(versions: Versions) -> None:
    versions.add(10)
    versions.promote()
    versions.add(11)
    meddling = _Meddling(versions.client, lambda: versions.add(99))
    assert gate.promote(cast(MlflowClient, meddling), versions.name).version == 2
    assert versions.aliases() == {"champion": 2, "previous": 1, "challenger": 3}


class _Meddling:
    """A client beside which something else happens once, before its first write."""

    def __init__(self, client: MlflowClient, happening: Callable[[], object]) -> None:
        self._client, self._happenings = client, [happening]

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("set_") and self._happenings:
            self._happenings.pop()()
        method: Callable[..., object] = getattr(self._client, name)
        return method


class _Killed:
    """A client that dies after some writes."""

    def __init__(self, client: MlflowClient, writes: int) -> None:
        self._client, self._writes = client, writes

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith(("set_", "delete_")):
            if self._writes == 0:
                raise KeyboardInterrupt
            self._writes -= 1
        method: Callable[..., object] = getattr(self._client, name)
        return method


def test_history_tells_all_in_order(versions: Versions) -> None:
    for correct in (10, 12, 11):
        versions.add(correct)
        if correct == 11:
            with pytest.raises(GateRefusedError):
                versions.promote()
        else:
            versions.promote()
    versions.rollback()
    recorded = gate.history(versions.client, versions.name)
    assert [(decision.event, decision.version) for decision in recorded] == [
        ("promote", 1),
        ("promote", 2),
        ("refused", 3),
        ("rollback", 1),
    ]
    listed = registry.list_versions(versions.client, versions.name)
    assert [(version.version, version.aliases) for version in listed] == [
        (1, ("champion",)),
        (2, ("previous",)),
        (3, ("challenger",)),
    ]
    assert listed[1].measured == registry.TestFigures("sha256:same", 12, 100, 0.5)
