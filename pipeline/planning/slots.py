"""Deals full-length trainings out to slots, for the stages that train them and for the estimate of their time."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def trainings_of_slots(trainings: Sequence[T], slots: int) -> list[Sequence[T]]:
    """Returns the trainings of each slot, dealt out in turn; every slot has at least one.

    They are dealt out before any of them starts: a slot that is done does not take over those of another.

    Args:
        trainings: in the order in which they are dealt out.
        slots: how many there may be, at least one.
    """
    return [trainings[slot::slots] for slot in range(min(slots, len(trainings)))]
