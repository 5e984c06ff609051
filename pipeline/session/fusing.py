"""Whether a sweep's trials are trained as one."""

from pipeline.config import SweepConfig
from pipeline.search.fused_groups import Fusing


def fusing_of(config: SweepConfig) -> Fusing | None:
    """Trials chosen by those before them, or of several workers, are trained each by itself."""
    if config.fuse == "off" or config.search != "random" or config.workers_per_trial > 1:
        return None
    return Fusing(None if config.fuse == "auto" else config.fuse)
