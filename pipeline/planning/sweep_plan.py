"""Describes what a sweep would consist of."""

from dataclasses import dataclass

from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec


@dataclass(frozen=True)
class SweepPlan:
    """Everything that decides what a sweep costs, except the machine."""

    specs: tuple[TrialSpec, ...]
    """The trials by index; the first is the published configuration."""
    rungs: Rungs
    concurrent: int
    """How many trials run at the same time, in the search and in the audit."""
    final_concurrent: int
    """How many trainings of finalists run at the same time: fewer where trials share GPUs, since each of these takes
    whole GPUs."""
    train_images: int
    validation_images: int
    test_images: int
    finalists: int
    """How many configurations besides the published one `confirm` retrains, if there are that many."""
    seeds: int
    """How often `confirm` trains each of them, and `baseline` the published one."""
    workers: int = 1
    """How many workers each training has."""
    held: int = 1
    """How many slots the baseline takes from the search until it is done; 0 where it does not train beside the search.
    Several where trials share GPUs; no trial then starts before the baseline has its slots."""
    audited: int = 0
    """How many of the trials that ASHA stopped are trained to their full length, if it stops that many."""
    fused: tuple[tuple[int, ...], ...] = ()
    """The groups of trials, by index, that may be fused."""
    ended: frozenset[int] = frozenset()
    """Trials, by index, that have ended in an earlier command and take no more time."""

    @property
    def num_finalists(self) -> int:
        return min(self.finalists, len(self.specs) - 1)

    @property
    def num_audited(self) -> int:
        """The most trials that can be audited: the published configuration is never stopped."""
        return min(self.audited, len(self.specs) - 1)
