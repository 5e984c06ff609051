"""Which trials of a search are trained as one."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from tune_spaces.trial_spec import TrialSpec
from vit.fused.fit import fusing_key

FEWEST = 2
"""Trials that make a group."""
MOST_PROBED = 8
"""Trials with which the gain is measured: it grows slowly from there, and measuring it takes time itself."""
WORTHWHILE_GAIN = 1.1
"""Less is not worth that the trials of a group wait for each other."""


@dataclass(frozen=True)
class Fusing:
    """That trials are fused where they can be."""

    most: int | None = None
    """So many at once, at most. None: as many as there are, and only where that is measured to be faster."""

    def applies_to(self, gain: float) -> bool:
        """Whether a group is fused that is so many times as fast then."""
        return self.most is not None or gain >= WORTHWHILE_GAIN


def fused_groups(specs: Iterable[TrialSpec]) -> list[list[TrialSpec]]:
    """Trials that can be fused with others, by what they have in common; each group in the trials' order."""
    by_key: dict[Hashable, list[TrialSpec]] = {}
    for spec in specs:
        key = fusing_key(spec.model, spec.recipe)
        if key is not None:
            by_key.setdefault(key, []).append(spec)
    return [group for group in by_key.values() if len(group) >= FEWEST]


def probed(group: list[TrialSpec], slots: int, fusing: Fusing) -> list[TrialSpec]:
    """Those of a group with which its gain is measured."""
    return in_parts(group, slots, min(MOST_PROBED, fusing.most or MOST_PROBED))[0]


def in_parts(group: list[TrialSpec], slots: int, most: int | None) -> list[list[TrialSpec]]:
    """A group in as few parts as keep all slots busy, each of at most so many trials; as even as can be."""
    count = max(1, min(slots, len(group) // FEWEST))
    if most is not None:
        count = max(count, -(-len(group) // most))
    return [group[start::count] for start in range(count)]
