"""Tests that several Rays on one machine are reported, and that an address where no cluster answers is refused."""

import socket
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pipeline.diagnosis.ray_instances import check_rays, find_cluster
from pipeline.errors import UsageError


def process(pid: int, name: str = "gcs_server", status: str = "sleeping", **options: str) -> Any:
    words = ["/ray/gcs_server", *(f"--{option.replace('_', '-')}={value}" for option, value in options.items())]
    return SimpleNamespace(info={"pid": pid, "name": name, "status": status, "cmdline": words})


def test_two_rays_are_reported_with_what_tells_them_apart() -> None:
    first = process(11, session_dir="/tmp/ray/session_1")
    first.info["cmdline"].append("--gcs_server_port=0")
    second = process(12, session_dir="/tmp/ray/session_2")
    second.info["cmdline"].append("--gcs_server_port=6379")
    hidden = process(13)
    hidden.info["cmdline"] = None
    (finding,) = check_rays([first, process(1, "raylet"), second, hidden])
    rays = "process 11, /tmp/ray/session_1; process 12, port 6379, /tmp/ray/session_2; process 13"
    assert finding.line.startswith(f"ray: 3 Rays on this machine ({rays}): ")
    assert finding.details == {"pids": [11, 12, 13]}


def test_one_ray_is_no_finding_and_a_dead_one_does_not_count() -> None:
    assert list(check_rays([process(11), process(1, "python"), process(12, status=psutil.STATUS_ZOMBIE)])) == []


def test_an_address_where_nothing_answers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        silent = f"127.0.0.1:{taken.getsockname()[1]}"
    for address in (silent, "nowhere", "127.0.0.1:99999"):
        with pytest.raises(UsageError, match=f"--address is {address}, but no Ray cluster answers there"):
            find_cluster(address)
    with pytest.raises(UsageError, match="--address is ray://a:10001, but must be HOST:PORT of the cluster itself"):
        find_cluster("ray://a:10001")
    monkeypatch.setenv("RAY_ADDRESS", silent)
    assert find_cluster(None) is None
    with pytest.raises(UsageError, match="--address is auto, but no Ray cluster answers there"):
        find_cluster("auto")
