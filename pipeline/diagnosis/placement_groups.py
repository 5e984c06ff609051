"""Finds placement groups that hold a cluster's resources although nobody uses them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.diagnosis.finding import Finding
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Group:
    """A placement group that nobody uses and whose job is over."""

    id: str
    name: str
    state: str
    job: str
    resources: dict[str, float]


def check_groups(cluster: str, was_named: bool) -> Iterator[Finding]:
    """Finds the placement groups that outlived their jobs, without joining the cluster.

    Args:
        cluster: HOST:PORT.
        was_named: whether the user named the cluster; one that was merely found may be another user's.

    Raises:
        UsageError: the user named the cluster, and it cannot be read.
    """
    try:
        groups = leaked_groups(cluster)
    except UsageError as error:
        if was_named:
            raise
        yield Finding(
            "group", f"Ray cluster {cluster}", "cannot be checked from this machine", str(error), "information"
        )
        return
    for group in groups:
        yield _leaked(group, cluster)


def _leaked(group: Group, cluster: str) -> Finding:
    thing = f"placement group {group.id} of {cluster}"
    holds = ", ".join(f"{amount:g} {kind}" for kind, amount in sorted(group.resources.items()))
    problem = f"({group.state}, {holds}) belongs to job {group.job}, which is over, and nobody uses it"
    details = {"id": group.id, "name": group.name, "job": group.job, "address": cluster}
    if group.name:
        # A group has a name so that other jobs can find it: only its owner knows whether one still will.
        advice = f"it is named {group.name}; if no job will look for it, ray.util.remove_placement_group removes it"
        return Finding("group", thing, problem, advice, details=details)
    mend = partial(_remove_group, cluster, group.id)
    return Finding("group", thing, problem, "--fix removes it", details=details, mend=mend)


def leaked_groups(cluster: str) -> list[Group]:
    """Returns the groups whose creators, job and actor, are gone and that no living actor is in.

    Raises:
        UsageError: there is no Ray cluster, or it refuses access.
    """
    from ray.core.generated import gcs_pb2

    messages: Any = gcs_pb2
    tables = _tables(cluster)
    actors = [messages.ActorTableData.FromString(row) for row in tables.get_actor_table(None, None)]
    used = {actor.placement_group_id for actor in actors if actor.state != messages.ActorTableData.DEAD}
    groups = [messages.PlacementGroupTableData.FromString(row) for row in tables.get_placement_group_table()]
    living = [group for group in groups if group.state != messages.PlacementGroupTableData.REMOVED]
    orphans = [group for group in living if group.creator_job_dead and group.creator_actor_dead]
    return [_group(orphan) for orphan in orphans if orphan.placement_group_id not in used]


def _tables(cluster: str) -> Any:
    """Returns access to Ray's own tables, without joining the cluster.

    Ray's public interfaces need a dashboard to tell which job a group belongs to, or would add one more driver.
    """
    import ray._raylet
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    # As `ray.init` does: a Ray that a command has started for itself asks for the token of the command's user.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    raylet: Any = ray._raylet
    options = raylet.GcsClientOptions.create(cluster, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    tables = raylet.GlobalStateAccessor(options)
    if not tables.connect():
        raise UsageError(
            f"--address leads to {cluster}, but what answers is no Ray cluster, or wants another token than yours"
            " (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, else ~/.ray/auth_token)"
        )
    return tables


def _group(row: Any) -> Group:
    resources: dict[str, float] = {}
    for bundle in row.bundles:
        for kind, amount in bundle.unit_resources.items():
            resources[kind] = resources.get(kind, 0.0) + amount
    state = row.PlacementGroupState.Name(row.state)
    return Group(row.placement_group_id.hex(), row.name, state, row.creator_job_id.hex(), resources)


def _remove_group(cluster: str, group: str) -> str:
    import ray
    from ray.util.placement_group import PlacementGroup

    from pipeline.cluster.connection import connected

    with connected(cluster):
        ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
    return "removed"
