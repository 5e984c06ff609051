"""Tests of who holds and who waits for which resources, by Ray's own tables as its control store gives them."""

from typing import Any

import pytest
import ray

from pipeline.cluster.ray_tables import COMMON, GCS, read_resource_table, resource_table_of
from pipeline.cluster.resource_holders import Resources, waiting_reason
from tests.unit.pipeline.cluster.test_resource_holders import NO_ROOM, ROOM

HEAD, OTHER, DEAD = (bytes([number]) * 28 for number in (1, 2, 3))


GROUP, BROKEN, GONE = (bytes([number]) * 18 for number in (4, 5, 6))


MY_JOB, OTHER_JOB = b"\1\0\0\0", b"\2\0\0\0"


class Store:
    """Stands in for Ray's own accessor of its control store."""

    def __init__(self) -> None:
        self.actors: list[Any] = []
        self.groups: list[Any] = []
        self.broken: set[str] = set()
        self.demands: dict[int, Resources] = {}

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("get_") and name in self.broken:
            raise OSError(name)
        return super().__getattribute__(name)

    def get_node_table(self) -> list[dict[str, Any]]:
        def node(node_id: bytes, address: str, alive: bool, cpus: float) -> dict[str, Any]:
            return {
                "NodeID": node_id.hex(), "NodeManagerAddress": address, "Alive": alive,
                "Resources": {"CPU": cpus, f"node:{address}": 1.0, "object_store_memory": 1e9},
                "DeathReasonMessage": "" if alive else "health check failed",
            }  # fmt: skip

        return [node(HEAD, "10.0.0.1", True, 4), node(OTHER, "10.0.0.2", True, 2), node(DEAD, "10.0.0.2", False, 8)]

    def get_all_available_resources(self) -> list[bytes]:
        group = {f"CPU_group_{GROUP.hex()}": 1.0}
        rows = {HEAD: {"CPU": 0.5, **group}, OTHER: {"object_store_memory": 1e9}}
        return [_row(GCS.AvailableResources(node_id=node, resources_available=free)) for node, free in rows.items()]

    def get_actor_table(self, job: None, state: str) -> list[bytes]:
        number = GCS.ActorTableData.ActorState.Value(state)
        return [_row(actor) for actor in self.actors if actor.state == number]

    def get_placement_group_table(self) -> list[bytes]:
        return [_row(group) for group in self.groups]

    def get_all_resource_usage(self) -> bytes:
        usage = GCS.ResourceUsageBatchData()
        for count, shape in self.demands.items():
            demand = GCS.ResourceDemand(shape=shape, num_ready_requests_queued=count)
            usage.resource_load_by_shape.resource_demands.append(demand)
        return _row(usage)

    def get_job_table(self, **what: bool) -> list[bytes]:
        drivers = [(MY_JOB, 100, "10.0.0.1"), (OTHER_JOB, 200, "10.0.0.9")]
        return [
            _row(GCS.JobTableData(job_id=job, driver_pid=pid, driver_address=COMMON.Address(ip_address=address)))
            for job, pid, address in drivers
        ]


def _row(message: Any) -> bytes:
    row: bytes = message.SerializeToString()
    return row


def _actor(kind: str, state: str, resources: Resources, **more: Any) -> Any:
    fields = {"job_id": MY_JOB, "node_id": HEAD, "class_name": kind, **more}
    return GCS.ActorTableData(state=state, required_resources=resources, **fields)


def _group(group: bytes, state: str, bundles: list[tuple[bytes, Resources]], **more: Any) -> Any:
    made = [COMMON.Bundle(node_id=node, unit_resources=resources) for node, resources in bundles]
    return GCS.PlacementGroupTableData(placement_group_id=group, state=state, bundles=made, **more)


@pytest.fixture
def store() -> Store:
    store = Store()
    within = {f"CPU_group_0_{GROUP.hex()}": 1.0, f"bundle_group_{GROUP.hex()}": 0.001}
    store.actors = [
        _actor("with_resources.<locals>.ResourceTrainable", "ALIVE", within, pid=11, placement_group_id=GROUP),
        _actor("Controller", "ALIVE", {}, pid=12),
        _actor("Holder", "ALIVE", {"CPU": 1.5}, pid=13, name="big", job_id=OTHER_JOB, node_id=OTHER),
        _actor("Late", "PENDING_CREATION", {"CPU": 3}),
        _actor("RayTrainWorker", "RESTARTING", within, placement_group_id=GROUP),
        _actor("Past", "DEAD", {"CPU": 4}, pid=14),
    ]
    store.groups = [
        _group(GROUP, "CREATED", [(HEAD, {"CPU": 1}), (HEAD, {"CPU": 1})], creator_job_id=MY_JOB),
        _group(BROKEN, "RESCHEDULING", [(HEAD, {"CPU": 1}), (b"", {"CPU": 2})], strategy="SPREAD", name="torn"),
        _group(GONE, "REMOVED", [(HEAD, {"CPU": 4})]),
    ]
    store.demands = {1: {"CPU": 3}, 2: {"CPU": 0.5}, 4: {f"CPU_group_{GROUP.hex()}": 1.0}}
    return store


def test_who_holds_what(store: Store) -> None:
    table = resource_table_of(store, MY_JOB)
    assert {claim.owner: (claim.bundles, claim.driver) for claim in table.held} == {
        "placement group 04040404 on 10.0.0.1 with a trial, pid 11": (({"CPU": 1}, {"CPU": 1}), None),
        "placement group torn on 10.0.0.1 with no actor in it": (({"CPU": 1},), None),
        "actor Holder 'big', pid 13 on 10.0.0.2 (02020202)": (({"CPU": 1.5},), "pid 200 on 10.0.0.9"),
        # Of the head's 4 cores, 0.5 are free, and the groups hold 2 and 1. Of the other node's 2 cores, none is free,
        # and the holder has 1.5.
        "tasks, or actors that are just starting, on 10.0.0.1": (({"CPU": 0.5},), None),
        "tasks, or actors that are just starting, on 10.0.0.2 (02020202)": (({"CPU": 0.5},), None),
    }
    assert table.sums("CPU") == (5.5, 6)
    assert table.sums("GPU") == (0, 0)
    assert table.unread == []


def test_what_waits(store: Store) -> None:
    table = resource_table_of(store, MY_JOB)
    assert {claim.owner: waiting_reason(claim, table.nodes) for claim in table.waiting} == {
        "placement group torn": NO_ROOM,
        "actor Late (pending creation)": NO_ROOM,
        "a training's worker (restarting)": "within placement group 04040404",
        "each of 2 tasks": ROOM,
    }
    (torn,) = (claim for claim in table.waiting if claim.owner == "placement group torn")
    assert (torn.bundles, torn.strategy) == (({"CPU": 2},), "SPREAD")


def test_dead_nodes(store: Store) -> None:
    assert resource_table_of(store, MY_JOB).dead == ["10.0.0.2 (03030303): health check failed"]


TABLES = {
    "nodes": "get_node_table",
    "free resources": "get_all_available_resources",
    "actors": "get_actor_table",
    "placement groups": "get_placement_group_table",
    "waiting tasks": "get_all_resource_usage",
    "drivers": "get_job_table",
}


@pytest.mark.parametrize("broken", TABLES)
def test_a_table_that_cannot_be_read_is_named_and_the_others_are_reported(store: Store, broken: str) -> None:
    store.broken = {TABLES[broken]}
    table = resource_table_of(store, MY_JOB)
    assert table.unread == [f"{broken}: OSError: {TABLES[broken]}"]
    assert ("Holder" in str(table.held)) == (broken != "actors")
    assert ("torn" in str(table.waiting)) == (broken != "placement groups")
    assert (table.nodes == []) == (broken in ("nodes", "free resources"))
    assert "tasks, or" not in str(table.held)  # the rest is not known without all tables


def test_where_no_ray_is_none_is_started() -> None:
    assert not ray.is_initialized()
    assert read_resource_table().unread == ["this process is not connected to Ray"]
    assert not ray.is_initialized()
