"""The deployment files match the project: what they run, install and name exists, and a sweep has time to stop."""

import ast
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from pipeline.config import SweepConfig
from pipeline.sweep import build_parser, config_of

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
README = (ROOT / "deploy/README.md").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
MANIFEST: dict[str, Any] = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())
SPEC: dict[str, Any] = MANIFEST["spec"]
CLUSTER: dict[str, Any] = SPEC["rayClusterSpec"]
(WORKERS,) = CLUSTER["workerGroupSpecs"]
PODS: dict[str, dict[str, Any]] = {
    "head": CLUSTER["headGroupSpec"]["template"]["spec"],
    "worker": WORKERS["template"]["spec"],
}
STOPPING_TAKES = 30
"""The seconds that a sweep may take to end after SIGTERM."""


def container_of(pod: str) -> dict[str, Any]:
    (container,) = PODS[pod]["containers"]
    found: dict[str, Any] = container
    return found


def environment_of(pod: str) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container_of(pod).get("env", [])}


def hook_of(pod: str) -> list[str]:
    command: list[str] = container_of(pod)["lifecycle"]["preStop"]["exec"]["command"]
    return command


def config_from(command: str) -> SweepConfig:
    """The configuration that a command `python -m pipeline.sweep ...` asks for; bad usage ends the test."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "pipeline.sweep"]
    return config_of(build_parser().parse_args(words[3:]))


def ray_version() -> str:
    (version,) = re.findall(r"^ray==(.+)$", CONSTRAINTS, re.MULTILINE)
    return str(version)


def test_the_manifest_is_a_rayjob() -> None:
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == ("ray.io/v1", "RayJob")
    # KubeRay's rule for the names of its jobs.
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", MANIFEST["metadata"]["name"])


def test_its_command_is_a_sweep_on_that_cluster_with_a_storage_that_all_pods_reach() -> None:
    config = config_from(SPEC["entrypoint"])
    assert config.address == "auto"
    assert config.storage.startswith("s3://")
    assert config.tracking_uri == environment_of("head")["MLFLOW_TRACKING_URI"]


def test_the_readme_shows_commands_that_the_sweep_understands() -> None:
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line[line.index("python -m") :] for line in lines if "pipeline.sweep" in line]
    assert len(commands) == 2
    assert {config_from(command) for command in commands} == {config_from(SPEC["entrypoint"])}


def test_a_job_that_ends_gives_its_gpus_back() -> None:
    assert SPEC["shutdownAfterJobFinishes"] is True
    assert SPEC["ttlSecondsAfterFinished"] <= 300


def test_no_trial_runs_on_the_head_and_each_worker_has_a_gpu() -> None:
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in container_of("head")["resources"]["limits"]
    assert container_of("worker")["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_all_workers_are_there_when_the_sweep_counts_them() -> None:
    assert WORKERS["replicas"] == WORKERS["minReplicas"] == WORKERS["maxReplicas"] > 0
    assert "enableInTreeAutoscaling" not in CLUSTER


def test_a_pod_is_given_the_time_that_a_sweep_takes_to_stop() -> None:
    for pod in PODS:
        assert PODS[pod]["terminationGracePeriodSeconds"] > STOPPING_TAKES, pod
    # The time that the preStop hook waits counts towards the grace period.
    wait = int(environment_of("head")["RAY_JOB_STOP_WAIT_TIME_S"])
    assert STOPPING_TAKES < wait < PODS["head"]["terminationGracePeriodSeconds"]
    name, seconds = hook_of("worker")
    assert name == "sleep"
    assert STOPPING_TAKES < int(seconds) < PODS["worker"]["terminationGracePeriodSeconds"]


@dataclass(frozen=True)
class Status:
    terminal: bool

    def is_terminal(self) -> bool:
        return self.terminal


@dataclass(frozen=True)
class Job:
    submission_id: str | None
    status: Status


class Jobs:
    """Stands in for Ray's job client, with three jobs: one over, one running, and a driver that was not submitted.

    That driver has no submission id. Once the running job is stopped, it is listed as running twice more, then as over.
    """

    def __init__(self, address: str) -> None:
        assert address == "http://127.0.0.1:8265"
        self.stopped: list[str] = []
        self.looks = 0
        made.append(self)

    def list_jobs(self) -> list[Job]:
        self.looks += bool(self.stopped)
        over = Status(self.looks > 2)
        return [Job("over", Status(True)), Job("running", over), Job(None, Status(False))]

    def stop_job(self, submission_id: str) -> None:
        self.stopped.append(submission_id)


made: list[Jobs] = []


def test_the_hook_of_the_head_stops_the_job_and_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert len(waits) < 10, "the hook waits for ever"

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", Jobs)
    monkeypatch.setattr("time.sleep", sleep)
    made.clear()
    python, flag, program = hook_of("head")
    assert (python, flag) == ("python", "-c")
    exec(compile(ast.parse(program), "preStop", "exec"), {})
    (jobs,) = made
    assert jobs.stopped == ["running"]
    assert len(waits) == 2


@pytest.mark.parametrize("pod", PODS)
def test_every_request_has_the_same_limit(pod: str) -> None:
    resources = container_of(pod)["resources"]
    assert resources["requests"] == resources["limits"]
    assert {"cpu", "memory"} <= set(resources["limits"])


@pytest.mark.parametrize("pod", PODS)
def test_every_mount_has_its_volume_and_shared_memory_is_memory(pod: str) -> None:
    volumes = {volume["name"]: volume for volume in PODS[pod]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container_of(pod)["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"


def test_the_driver_finds_its_data_on_a_volume() -> None:
    mounts = {mount["mountPath"] for mount in container_of("head")["volumeMounts"]}
    assert environment_of("head")["VIT_DATA_DIR"] in mounts


def test_all_pods_have_the_image_that_the_readme_builds_and_the_secret_that_it_creates() -> None:
    (image,) = {container_of(pod)["image"] for pod in PODS}
    assert f"docker build -f deploy/Dockerfile -t {image} ." in README
    assert f":{PROJECT['project']['version']}" in image
    (secret,) = {source["secretRef"]["name"] for pod in PODS for source in container_of(pod)["envFrom"]}
    assert f"kubectl create secret generic {secret} " in README


def test_manifest_and_image_have_the_tested_versions_of_ray_and_python() -> None:
    assert CLUSTER["rayVersion"] == ray_version()
    (python,) = re.findall(r"on Python 3\.(\d+);", CONSTRAINTS.splitlines()[0])
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE) == [f"rayproject/ray:{ray_version()}-py3{python}-gpu"]


def test_the_image_gets_all_that_the_installation_reads() -> None:
    copied = {
        word for line in re.findall(r"^COPY --chown=ray (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    }
    needed = {"pyproject.toml", "constraints.txt", PROJECT["project"]["readme"]}
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert copied == needed | packages
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_has_what_the_storage_needs() -> None:
    (extras,) = re.findall(r"^RUN pip install .*-c constraints\.txt '\.\[(.+)\]'$", DOCKERFILE, re.MULTILINE)
    assert "s3fs" in PROJECT["project"]["optional-dependencies"][extras]
