"""Observers: they hear what happens to the trials, in the project's own terms."""

from collections.abc import Sequence

from pipeline.trials.records import EpochRecord, TrialRecord
from tune_spaces.trial_spec import TrialSpec


class Observer:
    """Called on the driver in one thread; must return at once. Every method is optional.

    A driver that takes over from one that died reports the unfinished trials from their beginning.
    """

    def trial_started(self, spec: TrialSpec) -> None:
        """Its first process is on its way."""

    def workers_started(self, spec: TrialSpec) -> None:
        """Ray Train's workers have come up for it, each with what it takes of its node; not told within a search."""

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        """One process has come up for all of these, which have started, and trains them as one."""

    def trial_kept_apart(self, spec: TrialSpec) -> None:
        """It was too much for one process together with others: it is trained by itself."""

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        """It is in the trial's folder."""

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        """A process took the trial over and could not read this; it uses the checkpoint before."""

    def trial_ended(self, record: TrialRecord) -> None:
        """For good, unless a later command may go on with it."""

    def trial_restored(self, record: TrialRecord) -> None:
        """It had ended before this command began."""
