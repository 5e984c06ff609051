"""Tests of what the doctor finds after a sweep was killed, and after a driver left placement groups behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from pipeline.diagnosis.placement_groups import leaked_groups
from pipeline.diagnosis.ray_instances import check_rays
from tests.integration.commands import (
    assert_gone,
    processes_below,
    run_here,
    runs_of,
    start,
    trial_runs_of,
    wait_until,
)

SWEEP = (
    "--dataset", "digits", "--train-limit", "300", "--precision", "fp32", "--trials", "1", "--max-epochs", "40",
    "--grace-epochs", "40", "--until", "search",
)  # fmt: skip


@dataclass(frozen=True)
class CheckUp:
    """The result of the command."""

    status: int
    """The exit status for `findings`, which leave out the Rays of others on this machine and their placement groups."""
    findings: list[dict[str, Any]]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [finding for finding in self.findings if finding["kind"] == kind]


def check_up(folder: Path, *flags: str, may_find_ray: bool = False) -> CheckUp:
    env = {} if may_find_ray else {"RAY_ADDRESS": "127.0.0.1:1"}  # nothing runs there, and Ray looks nowhere else
    done = run_here("pipeline.doctor", folder, *flags, "--json", "findings.json", env=env)
    assert may_find_ray or done.stderr == ""
    findings = json.loads((folder / "findings.json").read_text())["findings"]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:-1]] == [each["kind"] for each in findings]
    assert done.returncode == _status(findings)
    others = {"ray"} if "--address" in flags else {"ray", "group"}
    own = [finding for finding in findings if finding["kind"] not in others]
    return CheckUp(_status(own), own)


def _status(findings: list[dict[str, Any]]) -> int:
    return int(any(finding["state"] == "open" for finding in findings))


@dataclass(frozen=True)
class KilledSweep:
    folder: Path
    while_it_ran: CheckUp


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> KilledSweep:
    """A sweep that was running when the doctor first looked, and was then killed before it could end anything."""
    folder = tmp_path_factory.mktemp("killed")
    with start("pipeline.sweep", folder, *SWEEP) as process:
        wait_until(lambda: list(folder.glob("sweeps/*/trials/*/latest.pt")), process)
        wait_until(lambda: len(trial_runs_of(folder)) == 1, process)
        while_it_ran = check_up(folder, may_find_ray=True)
        below = processes_below(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert_gone(below)
    assert process.returncode == -signal.SIGKILL
    return KilledSweep(folder, while_it_ran)


@pytest.mark.slow
def test_a_sweep_under_way_is_no_finding(killed: KilledSweep) -> None:
    assert killed.while_it_ran.findings == []
    assert killed.while_it_ran.status == 0


@pytest.mark.slow
def test_a_killed_sweep_is_found_and_mended(killed: KilledSweep) -> None:
    folder = killed.folder
    running = {run.info.run_id for run in runs_of(folder) if run.info.status == "RUNNING"}
    command = shlex.join(["python", "-m", "pipeline.sweep", *SWEEP])

    found = check_up(folder)
    (runs,) = found.of_kind("run")
    assert (found.status, set(runs["run_ids"]), runs["state"]) == (1, running, "open")
    assert runs["advice"] == f"--fix ends them as interrupted; to go on: {command}"
    (unfinished,) = found.of_kind("unfinished")
    assert (unfinished["state"], unfinished["advice"]) == ("information", f"to go on: {command}")
    (leftover,) = found.of_kind("leftover")
    assert "tune" in leftover["paths"]
    assert {run.info.run_id for run in runs_of(folder) if run.info.status == "RUNNING"} == running
    states = [path for path in _paths(folder) if path.name in ("latest.pt", "history.json")]

    fixed = check_up(folder, "--fix")
    assert fixed.status == 0
    assert [finding["state"] for kind in ("run", "leftover") for finding in fixed.of_kind(kind)] == ["mended"] * 2
    for run in runs_of(folder):
        if run.info.run_id in running:
            assert (run.info.status, run.data.tags["pipeline.stopped"]) == ("KILLED", "interrupted")
            assert run.info.end_time is not None
        else:
            assert run.data.tags["pipeline.stage"] == "prepare"
    assert not list((folder / "sweeps").glob("*/tune"))
    assert all(path.exists() for path in states)  # the files from which the same command resumes

    after = check_up(folder)
    assert (after.status, [finding["kind"] for finding in after.findings]) == (0, ["unfinished"])


@pytest.mark.slow
def test_the_same_folder_beside_another_store_has_no_runs(killed: KilledSweep, tmp_path: Path) -> None:
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    found = check_up(tmp_path, "--storage", str(killed.folder / "sweeps"))
    (checkpoint,) = found.of_kind("checkpoint")
    assert (found.status, checkpoint["state"]) == (1, "open")
    assert checkpoint["bytes"] == sum(path.stat().st_size for path in _paths(killed.folder) if path.is_file())


def _paths(folder: Path) -> list[Path]:
    return [path for sweep in (folder / "sweeps").iterdir() for path in sweep.rglob("*")]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--json", "no/such/file"], "--json is no/such/file, but its folder does not exist"),
        (["--tracking-uri", "sqlite:///none.db"], "--tracking-uri is sqlite:///{folder}/none.db, but there is no such"),
        (["--tracking-uri", "http://127.0.0.1:1"], "the tracking server http://127.0.0.1:1 does not answer"),
        (["--storage", "nowhere"], "--storage is nowhere, but there is no such folder"),
        (["--address", "127.0.0.1:1"], "--address is 127.0.0.1:1, but no Ray cluster answers there"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_one_line(tmp_path: Path, flags: list[str], message: str) -> None:
    (tmp_path / "mlflow.db").touch()
    done = run_here("pipeline.doctor", tmp_path, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message.format(folder=tmp_path)}")
    assert len(done.stderr.splitlines()) == 1


DRIVER = """
import sys
import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

@ray.remote(num_cpus=0)
class Tenant:
    def answer(self):
        return 1

ray.init(address=sys.argv[1], log_to_driver=False, namespace="tests")
leaked = ray.util.placement_group([{"CPU": 1}], lifetime="detached")
pending = ray.util.placement_group([{"CPU": 9}], lifetime="detached")
named = ray.util.placement_group([{"CPU": 1}], lifetime="detached", name="for later")
used = ray.util.placement_group([{"CPU": 1}], lifetime="detached")
ordinary = ray.util.placement_group([{"CPU": 1}])
ray.get([group.ready() for group in (leaked, named, used, ordinary)])
where = PlacementGroupSchedulingStrategy(used)
tenant = Tenant.options(lifetime="detached", name="tenant", scheduling_strategy=where).remote()
ray.get(tenant.answer.remote())
print(leaked.id.hex(), pending.id.hex(), named.id.hex(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    options = {"num_cpus": 4, "object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_groups_that_a_driver_left_are_found_and_removed(cluster: str, tmp_path: Path) -> None:
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, cluster], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        line = driver.stdout.readline()
        while "raylet" in line:  # a message of Ray itself
            line = driver.stdout.readline()
        leaked, pending, named = line.split()
        assert leaked_groups(cluster) == []  # their driver is still alive
        driver.kill()
    wait_until(lambda: len(leaked_groups(cluster)) == 3)

    found = check_up(tmp_path, "--address", cluster)
    assert found.status == 1
    assert {finding["id"] for finding in found.of_kind("group")} == {leaked, pending, named}
    fixed = check_up(tmp_path, "--address", cluster, "--fix")
    states = {finding["id"]: finding["state"] for finding in fixed.of_kind("group")}
    assert states == {leaked: "mended", pending: "mended", named: "open"}
    assert [group.id for group in leaked_groups(cluster)] == [named]


@pytest.mark.slow
def test_one_ray_on_this_machine_is_no_finding(cluster: str) -> None:
    below = psutil.Process().children(recursive=True)  # other users may also run Rays on this machine
    own = [each for each in psutil.process_iter(["pid", "name", "status", "cmdline"]) if each in below]
    servers = [each for each in own if each.info["name"] == "gcs_server"]
    assert len(servers) == 1
    assert list(check_rays(own)) == []
    (finding,) = check_rays([*own, *servers])  # as if there were two
    assert "/session_" in finding.line
