"""The gate, roll-back and history, on a real registry; the command's exit statuses and its one-line errors."""

import itertools
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from mlflow import MlflowClient

from pipeline.errors import GateRefusedError, PipelineError, UsageError
from pipeline.registry import gate
from pipeline.registry import versions as registry
from pipeline.tracking.server import open_client, refuse_missing_database, refuse_unreachable
from tests.integration.commands import ROOT, run_here

_numbers = itertools.count()


@dataclass(frozen=True)
class Versions:
    """A registered model of its own for each test."""

    client: MlflowClient
    name: str

    def add(self, correct: int, digest: str = "sha256:same") -> int:
        """A new challenger that gets `correct` of 100 test images right."""
        measured = registry.TestFigures(digest, correct, test_images=100, val_accuracy=0.5)
        return self.add_bare(measured.to_tags())

    def add_bare(self, tags: dict[str, str]) -> int:
        version = self.client.create_model_version(self.name, source="file:///nowhere", tags=tags)
        self.client.set_registered_model_alias(self.name, registry.CHALLENGER, version.version)
        return int(version.version)

    def promote(self) -> gate.PromotionDecision:
        return gate.promote(self.client, self.name)

    def rollback(self) -> gate.PromotionDecision:
        return gate.rollback(self.client, self.name)

    def aliases(self) -> dict[str, int]:
        aliases = self.client.get_registered_model(self.name).aliases
        return {alias: int(version) for alias, version in aliases.items()}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('promote')}/mlflow.db"


@pytest.fixture
def versions(uri: str) -> Iterator[Versions]:
    client, name = MlflowClient(uri), f"vit-{next(_numbers)}"
    client.create_registered_model(name)
    yield Versions(client, name)


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


def _command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_here("pipeline.promote", ROOT, *arguments)


def _assert_one_line(done: "subprocess.CompletedProcess[str]", status: int, *parts: str) -> None:
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for part in parts:
        assert part in done.stderr


@pytest.mark.slow
def test_the_command_promotes_refuses_and_rolls_back(versions: Versions, tmp_path: Path) -> None:
    where = ("--model", versions.name, "--tracking-uri", versions.client.tracking_uri)
    versions.add(10)
    versions.promote()
    versions.add(11)
    result = tmp_path / "result.json"
    done = _command(*where, "--json", str(result))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{versions.name} version 2 is the champion: 11 of 100 test images right, more than the 10 of the champion,"
        " version 1",
        "  version 2: 11 of 100 test images right (11.00%), validation accuracy 50.00%",
        "  version 1, now previous: 10 of 100 test images right (10.00%), validation accuracy 50.00%",
        f'  mlflow.pyfunc.load_model("models:/{versions.name}@champion")',
    ]
    written = json.loads(result.read_text())
    assert (written["model"], written["version"], written["replaced"]) == (versions.name, 2, 1)

    versions.add(5)
    _assert_one_line(_command(*where), 3, "version 3", "5 of 100", "not more than the 11")

    assert _command(*where, "--rollback").returncode == 0
    assert versions.aliases() == {"champion": 1, "previous": 2, "challenger": 3}

    done = _command(*where, "--history", "--json", str(result))
    assert (done.returncode, done.stderr) == (0, "")
    assert "version 1 [champion]: 10 of 100" in done.stdout
    written = json.loads(result.read_text())
    assert [decision["event"] for decision in written["history"]] == ["promote", "promote", "refused", "rollback"]
    assert [version["aliases"] for version in written["versions"]] == [["champion"], ["previous"], ["challenger"]]


@pytest.mark.slow
def test_the_command_says_in_one_line_what_is_wrong(uri: str, versions: Versions, tmp_path: Path) -> None:
    _assert_one_line(_command(), 2, "--dataset", "--model")
    _assert_one_line(_command("--dataset", "digits", "--model", "m"), 2, "--model", "--dataset")
    _assert_one_line(_command("--model", "m/1"), 2, "--model is 'm/1'")
    _assert_one_line(_command("--dataset", "digits", "--tracking-uri", uri), 2, "no registered model vit-digits")
    _assert_one_line(_command("--model", versions.name, "--tracking-uri", uri, "--rollback"), 2, "--rollback")
    nowhere = f"sqlite:///{tmp_path}/none.db"
    _assert_one_line(_command("--dataset", "digits", "--tracking-uri", nowhere), 2, "no such database")
    assert not (tmp_path / "none.db").exists()
    missing = f"{tmp_path}/none/result.json"
    _assert_one_line(_command("--dataset", "digits", "--json", missing), 2, "--json", missing)


@pytest.mark.slow
def test_a_silent_server_costs_seconds() -> None:
    # It accepts connections and never answers: worse than a closed port.
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        done = _command("--dataset", "digits", "--tracking-uri", address)
        assert time.monotonic() - start < 10
    _assert_one_line(done, 2, address, "does not answer")


def test_unusable_tracking_uris(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("not a database, but text")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"SQLite format 3\0" + bytes(4096))
    with pytest.raises(PipelineError, match="MLflow cannot open sqlite"):
        open_client(f"sqlite:///{broken}")
    for uri, rule in (
        (f"sqlite:///{tmp_path}/none/mlflow.db", "does not exist"),
        (f"sqlite:///{tmp_path}", "is a folder"),
        (f"sqlite:///{text}", "is not a SQLite database"),
        ("mlruns", "must be sqlite:///FILE"),
    ):
        with pytest.raises(UsageError, match=f"--tracking-uri .*{rule}"):
            refuse_unreachable(uri)
    with pytest.raises(UsageError, match="does not answer"):
        refuse_unreachable("http://127.0.0.1:9")
    new = f"sqlite:///{tmp_path}/new.db"
    refuse_unreachable(new)
    with pytest.raises(UsageError, match="no such database"):
        refuse_missing_database(new)
