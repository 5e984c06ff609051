"""Chooses which trials of a search are trained as one (fused), and in which groups."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from tune_spaces.trial_spec import TrialSpec
from vit.fused.fit import fusing_key

FEWEST = 2
"""The smallest number of trials that are fused."""
MOST_PROBED = 8
"""The most trials with which the gain is measured: it grows slowly beyond that, and measuring takes time itself."""
WORTHWHILE_GAIN = 1.1
"""The lowest gain for which trials are fused: less does not make up for their having to wait for each other."""


@dataclass(frozen=True)
class Fusing:
    """How trials are fused where they can be."""

    most: int | None = None
    """The most trials in a group. None: no such limit, but trials are fused only if that is measured to be faster."""

    def applies_to(self, gain: float) -> bool:
        """Whether to fuse a group that fusing makes `gain` times as fast."""
        return self.most is not None or gain >= WORTHWHILE_GAIN


def fused_groups(specs: Iterable[TrialSpec]) -> list[list[TrialSpec]]:
    """The groups of trials that can be fused, each with one `fusing_key`, in the trials' order."""
    by_key: dict[Hashable, list[TrialSpec]] = {}
    for spec in specs:
        key = fusing_key(spec.model, spec.recipe)
        if key is not None:
            by_key.setdefault(key, []).append(spec)
    return [group for group in by_key.values() if len(group) >= FEWEST]


def probed(group: list[TrialSpec], slots: int, fusing: Fusing) -> list[TrialSpec]:
    """The trials of a group with which the gain of fusing it is measured."""
    return in_parts(group, slots, min(MOST_PROBED, fusing.most or MOST_PROBED))[0]


def in_parts(group: list[TrialSpec], slots: int, most: int | None) -> list[list[TrialSpec]]:
    """Splits a group, as evenly as possible, into as few parts of at most `most` trials as keep all slots busy."""
    count = max(1, min(slots, len(group) // FEWEST))
    if most is not None:
        count = max(count, -(-len(group) // most))
    return [group[start::count] for start in range(count)]
