"""Tests of what decides a stage's output, and of its fingerprint."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.graph.graph import Graph
from pipeline.graph.stage import Identity
from tests.unit.pipeline.graph.graphs import DIAMOND, graph

ROOT = Path(__file__).parents[4]


ABOUT = Identity({"trials": 32, "seed": 0}, {"vit.fit": "1111", "vit.model": "2222"}, {"prepare": "3333"})


@pytest.mark.parametrize(
    "other",
    [
        replace(ABOUT, settings={"trials": 33, "seed": 0}),
        replace(ABOUT, settings={"trials": 32}),
        replace(ABOUT, settings={"trials": "32", "seed": 0}),
        replace(ABOUT, code={"vit.fit": "1111", "vit.model": "2223"}),
        replace(ABOUT, inputs={"prepare": "3334"}),
        Identity(ABOUT.code, ABOUT.settings, ABOUT.inputs),  # type: ignore[arg-type]
    ],
)
def test_another_reading_code_or_input_is_another_fingerprint(other: Identity) -> None:
    assert other.fingerprint != ABOUT.fingerprint


def test_the_order_of_names_is_not_in_the_fingerprint() -> None:
    turned = Identity({"seed": 0, "trials": 32}, {"vit.model": "2222", "vit.fit": "1111"}, ABOUT.inputs)
    assert turned.fingerprint == ABOUT.fingerprint


def test_fingerprints_are_the_same_in_another_process() -> None:
    program = f"from pipeline.graph.stage import Identity; print({ABOUT!r}.fingerprint)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == ABOUT.fingerprint, done.stderr
    assert len(ABOUT.fingerprint) == 16 and int(ABOUT.fingerprint, 16) >= 0


def test_a_change_reaches_all_that_rests_on_it_and_nothing_else() -> None:
    before = graph(DIAMOND)
    after = Graph(replace(stage, settings={"x": 1}) if stage.name == "b" else stage for stage in before)
    old, new = before.identities(), after.identities()
    assert {name for name in DIAMOND if old[name].fingerprint != new[name].fingerprint} == before.after("b")
    assert new["d"].inputs == {"b": new["b"].fingerprint, "c": old["c"].fingerprint}
