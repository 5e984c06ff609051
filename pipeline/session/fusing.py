"""Decides which trials of a sweep may be fused, that is, trained as one."""

from collections.abc import Iterable

from pipeline.config import SweepConfig
from pipeline.search.fused_groups import Fusing, fused_groups
from tune_spaces.trial_spec import TrialSpec


def fusing_of(config: SweepConfig) -> Fusing | None:
    """Returns how trials may be fused; None if each trial is trained alone.

    That is so if the user wants it, if trials are chosen by the results of earlier ones, or if they have several
    workers.
    """
    if config.fuse == "off" or config.search != "random" or config.workers_per_trial > 1:
        return None
    return Fusing(None if config.fuse == "auto" else config.fuse)


def groups_of(config: SweepConfig, specs: Iterable[TrialSpec]) -> list[list[TrialSpec]]:
    """Returns the groups of a sweep's trials that may be fused."""
    return fused_groups(specs) if fusing_of(config) else []
