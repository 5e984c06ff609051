"""Reads the cluster's resources from Ray's own tables, without its dashboard."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray._private.state import state as ray_state
from ray.core.generated import common_pb2, gcs_pb2

from pipeline.cluster.resource_holders import (
    IN_A_GROUP,
    SMALLEST_AMOUNT,
    Claim,
    Node,
    Resources,
    ResourceTable,
    sum_resources,
    user_resources,
)

ROLES = {"ResourceTrainable": "a trial", "RayTrainWorker": "a training's worker", "FusedTrials": "fused trials"}
"""What the actors of a class do here; Tune runs the class of every trial under the name `ResourceTrainable`."""
LIVING = ("ALIVE", "RESTARTING", "PENDING_CREATION", "DEPENDENCIES_UNREADY")


# The contents of these modules are created when they are imported, so mypy cannot see them.
COMMON: Any = common_pb2
GCS: Any = gcs_pb2


def read_resource_table() -> ResourceTable:
    """Asks Ray, but not by its public functions: they would start a new Ray if there is none any more."""
    if not ray.is_initialized():
        return ResourceTable(unread=["this process is not connected to Ray"])
    job = ray._private.worker.global_worker.current_job_id.binary()
    return resource_table_of(ray_state._connect_and_get_accessor(), job)


def resource_table_of(accessor: Any, job: bytes) -> ResourceTable:
    """Returns what Ray's control store knows, read through `accessor`; `job` is the id of this process's job."""
    tables = _Tables(accessor, job)
    held = [*tables.groups_that_hold(), *tables.actors_that_hold(), *tables.held_by_others()]
    waiting = [*tables.groups_that_wait(), *tables.actors_that_wait(), *tables.tasks_that_wait()]
    return ResourceTable(tables.living_nodes(), held, waiting, tables.dead_nodes(), tables.unread)


class _Tables:
    """The control store's tables. A table that cannot be read is empty, and is listed in `unread`."""

    def __init__(self, accessor: Any, job: bytes) -> None:
        self.unread: list[str] = []
        self._nodes: list[dict[str, Any]] = self._read("nodes", lambda: accessor.get_node_table(), [])
        self._free: dict[str, Resources] = self._read("free resources", lambda: _free(accessor), {})
        self._actors: list[Any] = self._read(
            "actors",
            lambda: [
                GCS.ActorTableData.FromString(row)
                for condition in LIVING  # the table also keeps dead actors, and there may be many
                for row in accessor.get_actor_table(None, condition)
            ],
            [],
        )
        self._groups: list[Any] = self._read(
            "placement groups",
            lambda: [GCS.PlacementGroupTableData.FromString(row) for row in accessor.get_placement_group_table()],
            [],
        )
        self._demands: list[Any] = self._read("waiting tasks", lambda: _demands(accessor), [])
        self._drivers: dict[bytes, str] = self._read("drivers", lambda: _other_drivers(accessor, job), {})

    def _read(self, what: str, read: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return read()
        except Exception as error:  # whatever the error is: a report with a gap is better than none
            self.unread.append(f"{what}: {type(error).__name__}: {error}")
            return otherwise

    def name(self, node_id: str) -> str:
        """Returns a node's address, with the start of its id if several nodes have the same address."""
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in self._nodes}
        address = addresses.get(node_id, "a node that is gone")
        several = sum(other == address for other in addresses.values()) > 1
        return f"{address} ({node_id[:8]})" if several else str(address)

    def living_nodes(self) -> list[Node]:
        if not self._free:
            return []
        return [
            Node(self.name(node["NodeID"]), dict(node["Resources"]), self._free.get(node["NodeID"], {}))
            for node in self._nodes
            if node["Alive"]
        ]

    def dead_nodes(self) -> list[str]:
        dead = (node for node in self._nodes if not node["Alive"])
        return [f"{self.name(node['NodeID'])}: {node['DeathReasonMessage'] or 'no reason is known'}" for node in dead]

    def groups_that_hold(self) -> list[Claim]:
        """Returns what placement groups hold: a placed bundle holds its resources even if its group is incomplete."""
        found = []
        for group in self._living_groups():
            bundles = [bundle for bundle in group.bundles if bundle.node_id]
            if bundles:
                nodes = Counter(self.name(bundle.node_id.hex()) for bundle in bundles)
                inside = [_actor_name(actor) for actor in self._actors_in(group)]
                owner = f"{_group_name(group)} on {', '.join(nodes)} with {_listed(inside) or 'no actor in it'}"
                found.append(Claim(owner, _units(bundles), driver=self._drivers.get(group.creator_job_id)))
        return found

    def groups_that_wait(self) -> list[Claim]:
        found = []
        for group in self._living_groups():
            bundles = [bundle for bundle in group.bundles if not bundle.node_id]
            if bundles:
                strategy, driver = (
                    COMMON.PlacementStrategy.Name(group.strategy),
                    self._drivers.get(group.creator_job_id),
                )
                found.append(Claim(_group_name(group), _units(bundles), strategy, driver=driver))
        return found

    def _living_groups(self) -> list[Any]:
        return [group for group in self._groups if group.state != GCS.PlacementGroupTableData.REMOVED]

    def _actors_in(self, group: Any) -> list[Any]:
        inside = (actor for actor in self._actors if actor.placement_group_id == group.placement_group_id)
        return [actor for actor in inside if _is_alive(actor) and user_resources(dict(actor.required_resources))]

    def actors_that_hold(self) -> list[Claim]:
        """Returns what actors outside of placement groups hold."""
        return [
            Claim(
                f"{_actor_name(actor)} on {self.name(actor.node_id.hex())}",
                (dict(actor.required_resources),),
                driver=self._drivers.get(actor.job_id),
            )
            for actor in self._actors
            if _is_alive(actor) and not actor.placement_group_id and user_resources(dict(actor.required_resources))
        ]

    def actors_that_wait(self) -> list[Claim]:
        names = {group.placement_group_id: _group_name(group) for group in self._groups}
        return [
            Claim(
                f"{_actor_name(actor)} ({_condition(actor)})",
                (dict(actor.required_resources),),
                group=names.get(actor.placement_group_id, "its group") if actor.placement_group_id else None,
                driver=self._drivers.get(actor.job_id),
            )
            for actor in self._actors
            if not _is_alive(actor)
        ]

    def tasks_that_wait(self) -> list[Claim]:
        """Returns the tasks in the nodes' queues: no actors, and no tasks in a placement group, which wait with it."""
        queued: Counter[frozenset[tuple[str, float]]] = Counter()
        for demand in self._demands:
            count = demand.num_ready_requests_queued + demand.num_infeasible_requests_queued + demand.backlog_size
            queued[frozenset(demand.shape.items())] += count
        queued -= Counter(frozenset(actor.required_resources.items()) for actor in self._actors if not _is_alive(actor))
        return [
            Claim("a task" if count == 1 else f"each of {count} tasks", (dict(shape),))
            for shape, count in queued.items()
            if not any(IN_A_GROUP.fullmatch(kind) for kind, _ in shape)
        ]

    def held_by_others(self) -> list[Claim]:
        """Returns the resources of each node that neither a placement group nor an actor outside of one holds."""
        if self.unread:
            return []  # what is held according to an unread table would be counted here
        known = self._known_by_node()
        found = []
        for node in self._nodes:
            if node["Alive"] and node["NodeID"] in self._free:
                free, held = self._free[node["NodeID"]], sum_resources(known[node["NodeID"]])
                rest = {
                    kind: round(amount - free.get(kind, 0) - held.get(kind, 0), 4)
                    for kind, amount in user_resources(node["Resources"]).items()
                }
                rest = {kind: amount for kind, amount in rest.items() if amount >= SMALLEST_AMOUNT}
                owner = f"tasks, or actors that are just starting, on {self.name(node['NodeID'])}"
                found += [Claim(owner, (rest,))] if rest else []
        return found

    def _known_by_node(self) -> dict[str, list[Resources]]:
        known: dict[str, list[Resources]] = defaultdict(list)
        for group in self._living_groups():
            for bundle in group.bundles:
                known[bundle.node_id.hex()].append(dict(bundle.unit_resources))
        for actor in self._actors:
            if _is_alive(actor) and not actor.placement_group_id:
                known[actor.node_id.hex()].append(dict(actor.required_resources))
        return known


def _free(accessor: Any) -> dict[str, Resources]:
    """Returns the free resources of each node; a resource that is used up is missing from them."""
    nodes = [GCS.AvailableResources.FromString(row) for row in accessor.get_all_available_resources()]
    return {node.node_id.hex(): dict(node.resources_available) for node in nodes}


def _demands(accessor: Any) -> list[Any]:
    usage = accessor.get_all_resource_usage()
    return list(GCS.ResourceUsageBatchData.FromString(usage).resource_load_by_shape.resource_demands)


def _other_drivers(accessor: Any, own_job: bytes) -> dict[bytes, str]:
    """Returns the other drivers on the cluster, by the ids of their jobs."""
    rows = accessor.get_job_table(skip_submission_job_info_field=True, skip_is_running_tasks_field=True)
    jobs = [GCS.JobTableData.FromString(row) for row in rows]
    return {
        job.job_id: f"pid {job.driver_pid} on {job.driver_address.ip_address}" for job in jobs if job.job_id != own_job
    }


def _is_alive(actor: Any) -> bool:
    return bool(actor.state == GCS.ActorTableData.ALIVE)


def _condition(actor: Any) -> str:
    state: str = GCS.ActorTableData.ActorState.Name(actor.state)
    return state.lower().replace("_", " ")


def _actor_name(actor: Any) -> str:
    kind = actor.class_name.rpartition(".")[2]
    known = ROLES.get(kind, f"actor {kind}")
    name = f" {actor.name!r}" if actor.name else ""
    return f"{known}{name}, pid {actor.pid}" if actor.pid else f"{known}{name}"


def _group_name(group: Any) -> str:
    return f"placement group {group.name or group.placement_group_id.hex()[:8]}"


def _units(bundles: Iterable[Any]) -> tuple[Resources, ...]:
    return tuple(dict(bundle.unit_resources) for bundle in bundles)


def _listed(names: list[str], most: int = 8) -> str:
    rest = f", and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + rest
