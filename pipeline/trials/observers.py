"""The interface of observers, which are notified of what happens to the trials, in the project's own terms."""

from collections.abc import Sequence

from pipeline.trials.records import EpochRecord, TrialRecord
from tune_spaces.trial_spec import TrialSpec


class Observer:
    """Its methods are called on the driver, for each trial in one thread, and must return quickly. Each is optional.

    A driver that resumes after another one died reports the unfinished trials from their first epoch.
    """

    def trial_started(self, spec: TrialSpec) -> None:
        """The trial has been started; its first process may not be running yet."""

    def workers_started(self, spec: TrialSpec) -> None:
        """Ray Train's workers have started for the trial and hold their resources; not called within a search."""

    def trials_fused(self, specs: Sequence[TrialSpec]) -> None:
        """A process is running that trains these trials, which have already been started, as one."""

    def trial_kept_apart(self, spec: TrialSpec) -> None:
        """The trial was too much for one process together with others, so it is trained alone."""

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        """An epoch is done, and is saved in the trial's folder."""

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        """A process that resumed the trial could not read a checkpoint, and uses the one before it, if there is one."""

    def trial_ended(self, record: TrialRecord) -> None:
        """The trial has ended, for good unless a later command may resume it."""

    def trial_restored(self, record: TrialRecord) -> None:
        """The trial had ended before this command began."""
