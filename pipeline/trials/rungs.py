"""ASHA's rungs, the epochs at which it may stop trials, and the decisions that it makes there."""

from dataclasses import dataclass

from pipeline.errors import UsageError


@dataclass(frozen=True)
class Decision:
    """What ASHA decided on a trial at a rung, and on which figures."""

    epoch: int
    """The rung."""
    accuracy: float
    """The trial's validation accuracy at the rung, a fraction; 0 if the trial diverged before it reached the rung."""
    cutoff: float | None
    """The accuracy that the trial had to reach; None for the first trial at a rung, which always continues."""
    rank: int
    """Its place among the `of` trials that had reached the rung by then, itself included; 1 is the best."""
    of: int
    go_on: bool
    """Whether the trial continues. A diverged one does not; the published configuration does, whatever its accuracy."""


@dataclass(frozen=True)
class Rungs:
    """ASHA's rungs: at each of these epochs, about one trial in `reduction_factor` continues."""

    grace_epochs: int
    reduction_factor: int
    max_epochs: int

    @staticmethod
    def of(max_epochs: int, grace_epochs: int | None, reduction_factor: int) -> "Rungs":
        if grace_epochs is not None and grace_epochs > max_epochs:
            raise UsageError(f"--grace-epochs is {grace_epochs}, but must be at most the full length, {max_epochs}")
        return Rungs(grace_epochs or max(1, max_epochs // 12), reduction_factor, max_epochs)

    @property
    def epochs(self) -> list[int]:
        """The rungs below the full length, lowest first."""
        rungs, epoch = [], self.grace_epochs
        while epoch < self.max_epochs:
            rungs.append(epoch)
            epoch *= self.reduction_factor
        return rungs

    def expected_epochs(self, trials: int) -> float:
        """The total epochs that this many trials take if exactly one in `reduction_factor` passes each rung."""
        total, alive, reached = 0.0, float(trials), 0
        for epoch in [*self.epochs, self.max_epochs]:
            total += alive * (epoch - reached)
            alive, reached = max(1.0, alive / self.reduction_factor), epoch
        return total
