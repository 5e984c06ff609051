"""Tests a training on nodes that appear as separate hosts: network namespaces with their own addresses and a bridge."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.commands import ROOT, runs_of, wait_until

BRIDGE = "vitbr"
NETWORK = "10.99.7"
NAMESPACES = {"vit1": f"{NETWORK}.1", "vit2": f"{NETWORK}.2"}
PORT = 6390
RAY = str(Path(sys.executable).with_name("ray"))
# The hosts' names do not resolve to their own addresses, so gloo has to be told which interface to use. All nodes of a
# cluster must agree on whether there is a token.
HOST = {"GLOO_SOCKET_IFNAME": "eth0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "VIT_TEST_NETWORK" not in os.environ,
        reason="it changes this machine's network: VIT_TEST_NETWORK=1 allows it, to root with iproute2",
    ),
]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[None]:
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{NETWORK}.254/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for name, address in NAMESPACES.items():
            _ip("netns", "add", name)
            _ip("link", "add", f"{name}b", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", f"{name}b", "master", BRIDGE, "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "route", "add", "default", "via", f"{NETWORK}.254")
        yield
    finally:
        for name in NAMESPACES:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


def _on(host: str, *command: str, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("w") as file:
        return subprocess.Popen(
            ["ip", "netns", "exec", host, *command],
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=file,
            stderr=file,
        )


def test_two_workers_on_two_hosts(hosts: None, tmp_path: Path) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    logs = {name: tmp_path / f"{name}.log" for name in (*NAMESPACES, "train")}
    common = ["--num-cpus", "1", "--object-store-memory", "200000000", "--disable-usage-stats", "--block"]
    first = NAMESPACES["vit1"]
    try:
        for name, address in NAMESPACES.items():
            role = ["--head", "--port", str(PORT)] if address == first else ["--address", f"{first}:{PORT}"]
            command = [RAY, "start", *role, "--node-ip-address", address, *common]
            processes.append(_on(name, *command, log=logs[name], environment=HOST))
            wait_until(lambda name=name: "--block" in logs[name].read_text())  # type: ignore[misc]
        train = _on(
            "vit1", sys.executable, "-m", "pipeline.train", "--dataset", "digits", "--train-limit", "300",
            "--epochs", "2", "--workers", "2", "--precision", "fp32", "--address", f"{first}:{PORT}",
            log=logs["train"], environment=HOST,
        )  # fmt: skip
        processes.append(train)
        assert train.wait(150) == 0, logs["train"].read_text()
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)
    assert "over 2 workers" in logs["train"].read_text()
    (run,) = runs_of(tmp_path)
    assert run.info.status == "FINISHED"
