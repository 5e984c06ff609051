"""What a sweep would consist of."""

from dataclasses import dataclass

from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec


@dataclass(frozen=True)
class SweepPlan:
    """All that decides what a sweep costs, besides the machine."""

    specs: tuple[TrialSpec, ...]
    """By index; the first is the published configuration."""
    rungs: Rungs
    concurrent: int
    """Trials at once, in the search and in the audit."""
    final_concurrent: int
    """Trainings of finalists at once: fewer where trials share GPUs, since each of these takes whole ones."""
    train_images: int
    validation_images: int
    test_images: int
    finalists: int
    """Configurations besides the published one that `confirm` trains again, where there are so many."""
    seeds: int
    """How often it trains each of them, and `baseline` the published one."""
    workers: int = 1
    """Of each training."""
    held: int = 1
    """Slots that the baseline takes from the search until it is over; 0 where it does not train beside it. Several
    where trials share GPUs, and then no trial begins before it has them."""
    audited: int = 0
    """Trials that ASHA stopped and that are trained to their full length, where it stops so many."""
    fused: tuple[tuple[int, ...], ...] = ()
    """Trials, by index, that may be trained as one."""
    ended: frozenset[int] = frozenset()
    """Trials, by index, that have ended in an earlier command and take no time any more."""

    @property
    def num_finalists(self) -> int:
        return min(self.finalists, len(self.specs) - 1)

    @property
    def num_audited(self) -> int:
        """At most: the published configuration is never stopped."""
        return min(self.audited, len(self.specs) - 1)
