"""Plain values that say who holds and who waits for the cluster's resources, and the reason why somebody waits."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Resources = dict[str, float]
Strategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
IN_A_GROUP = re.compile(r"(.+)_group_(?:\d+_)?[0-9a-f]{36}")
"""Ray's name for a resource that is taken from a placement group: `CPU_group_0_<id>`."""
SMALLEST_AMOUNT = 0.001
"""The smallest amount that counts: Ray's own markers are no smaller, and rounding errors of sums are below it."""


@dataclass(frozen=True)
class Node:
    """A living node."""

    name: str
    total: Resources
    free: Resources


@dataclass(frozen=True)
class Claim:
    """The resources that an owner holds, or waits for."""

    owner: str
    bundles: tuple[Resources, ...]
    """The resources by bundle; a bundle lies on a single node."""
    strategy: Strategy = "PACK"
    group: str | None = None
    """The placement group from which the resources are taken; None if they are taken directly from the nodes."""
    driver: str | None = None
    """The driver that the owner belongs to; None if that is this process."""


@dataclass(frozen=True)
class ResourceTable:
    """The cluster's resources at one moment."""

    nodes: list[Node] = field(default_factory=list)
    """The living nodes; empty if Ray does not say what is free."""
    held: list[Claim] = field(default_factory=list)
    waiting: list[Claim] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    """A line for each node that has died."""
    unread: list[str] = field(default_factory=list)
    """A line for each table that could not be read."""

    def sums(self, kind: str) -> tuple[float, float]:
        """Returns how much of a resource is held, and how much there is in all."""
        total = sum(node.total.get(kind, 0) for node in self.nodes)
        return total - sum(node.free.get(kind, 0) for node in self.nodes), total


def user_resources(resources: Resources) -> Resources:
    """Returns the resources without Ray's internal ones, and without the ids of placement groups in their names."""
    found: Resources = {}
    for key, amount in sorted(resources.items()):
        group = IN_A_GROUP.fullmatch(key)
        kind = group[1] if group else key
        if kind not in ("bundle", "object_store_memory") and not kind.startswith("node:"):
            found[kind] = amount
    return found


def waiting_reason(claim: Claim, nodes: list[Node]) -> str:
    """Says why a claim cannot get its resources. Exact if its bundles are all equal, as this project's are."""
    if claim.group is not None:
        return f"within {claim.group}"
    if not nodes:
        return "the nodes could not be read"
    units = [sum_resources(claim.bundles)] if claim.strategy == "STRICT_PACK" else list(claim.bundles)
    apart = claim.strategy == "STRICT_SPREAD"
    totals = [node.total for node in nodes]
    if not all(_placed([unit], totals, apart) for unit in units):
        return "no node of this cluster could ever hold it"
    if not _placed(units, totals, apart):
        return "all nodes together could never hold it"
    if not _placed(units, [node.free for node in nodes], apart):
        return "too little of it is free"
    return "Ray reports enough free resources"


def _placed(units: list[Resources], nodes: list[Resources], apart: bool) -> bool:
    """Whether all units fit on the nodes if the largest are placed first; `apart`: each on a node of its own."""
    left = [dict(node) for node in nodes]
    for unit in sorted(units, key=lambda unit: sum(unit.values()), reverse=True):
        node = next((node for node in left if _fits(unit, node)), None)
        if node is None:
            return False
        if apart:
            left.remove(node)
        else:
            for kind, amount in unit.items():
                node[kind] = node.get(kind, 0) - amount
    return True


def _fits(unit: Resources, node: Resources) -> bool:
    return all(node.get(kind, 0) > amount - SMALLEST_AMOUNT / 2 for kind, amount in unit.items())


def sum_resources(bundles: Iterable[Resources]) -> Resources:
    total: Resources = defaultdict(float)
    for bundle in bundles:
        for kind, amount in bundle.items():
            total[kind] += amount
    return dict(total)
