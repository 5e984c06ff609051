"""Whether a sweep's trials are trained as one."""

from collections.abc import Iterable

from pipeline.config import SweepConfig
from pipeline.search.fused_groups import Fusing, fused_groups
from tune_spaces.trial_spec import TrialSpec


def fusing_of(config: SweepConfig) -> Fusing | None:
    """Trials chosen by those before them, or of several workers, are trained each by itself."""
    if config.fuse == "off" or config.search != "random" or config.workers_per_trial > 1:
        return None
    return Fusing(None if config.fuse == "auto" else config.fuse)


def groups_of(config: SweepConfig, specs: Iterable[TrialSpec]) -> list[list[TrialSpec]]:
    """The trials of a sweep that may be trained as one, group by group."""
    return fused_groups(specs) if fusing_of(config) else []
