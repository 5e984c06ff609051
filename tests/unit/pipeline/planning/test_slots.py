"""Tests of which slot runs which trainings."""

import pytest

from pipeline.planning.slots import trainings_of_slots


@pytest.mark.parametrize(
    ("slots", "dealt"),
    [(1, ["abcde"]), (2, ["ace", "bd"]), (3, ["ad", "be", "c"]), (5, ["a", "b", "c", "d", "e"])],
)
def test_they_are_dealt_out_in_turn(slots: int, dealt: list[str]) -> None:
    assert trainings_of_slots("abcde", slots) == dealt


def test_no_slot_is_without_a_training() -> None:
    assert trainings_of_slots("ab", 3) == ["a", "b"]
    assert trainings_of_slots("", 3) == []
