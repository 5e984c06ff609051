"""Tests of why a claim waits for its resources, and whether it can ever get them."""

import pytest

from pipeline.cluster.resource_holders import Claim, Node, Resources, Strategy, waiting_reason

NODES = [Node("a", {"CPU": 4}, {"CPU": 1}), Node("b", {"CPU": 2, "GPU": 1}, {"CPU": 2, "GPU": 0.5})]


NEVER = "no node of this cluster could ever hold it"


TOO_MANY = "all nodes together could never hold it"


NO_ROOM = "too little of it is free"


ROOM = "Ray reports enough free resources"


@pytest.mark.parametrize(
    ("bundles", "strategy", "expected"),
    [
        ([{"CPU": 5}], "PACK", NEVER),
        ([{"CPU": 1, "TPU": 1}], "PACK", NEVER),
        ([{"CPU": 3, "GPU": 1}], "PACK", NEVER),  # there is enough of each, but on different nodes
        ([{"CPU": 1}, {"CPU": 5}], "PACK", NEVER),
        ([{"CPU": 4}], "PACK", NO_ROOM),
        ([{"CPU": 1, "GPU": 1}], "PACK", NO_ROOM),
        ([{"CPU": 2}], "PACK", ROOM),
        ([{"CPU": 1, "GPU": 0.5}], "PACK", ROOM),
        ([{"CPU": 3}] * 2, "PACK", TOO_MANY),  # there are six cores, but no two nodes with three
        ([{"CPU": 1}] * 7, "PACK", TOO_MANY),
        ([{"CPU": 1}] * 6, "SPREAD", NO_ROOM),
        ([{"CPU": 2}, {"CPU": 4}], "PACK", NO_ROOM),
        ([{"CPU": 1}] * 3, "PACK", ROOM),
        ([{"CPU": 0.1}] * 30, "PACK", ROOM),
        ([{"CPU": 1}] * 5, "STRICT_PACK", NEVER),
        ([{"CPU": 1}] * 3, "STRICT_PACK", NO_ROOM),
        ([{"CPU": 1}] * 2, "STRICT_PACK", ROOM),
        ([{"CPU": 1}] * 3, "STRICT_SPREAD", TOO_MANY),
        ([{"CPU": 2}] * 2, "STRICT_SPREAD", NO_ROOM),
        ([{"CPU": 1}] * 2, "STRICT_SPREAD", ROOM),
    ],
)
def test_whether_it_can_ever_be_held(bundles: list[Resources], strategy: Strategy, expected: str) -> None:
    assert waiting_reason(Claim("x", tuple(bundles), strategy), NODES) == expected
    assert waiting_reason(Claim("x", tuple(reversed(bundles)), strategy), list(reversed(NODES))) == expected


def test_without_nodes_nothing_is_said_of_its_prospects() -> None:
    assert waiting_reason(Claim("x", ({"CPU": 1},)), []) == "the nodes could not be read"
    assert waiting_reason(Claim("x", ({"CPU_group_0_ab": 1},), group="placement group ab"), NODES) == (
        "within placement group ab"
    )
