"""ASHA's stopping rule: at each rung, about one trial in `reduction_factor` continues.

It is the stopping variant of Li et al. 2020 (arXiv:1810.05934), as Ray's `AsyncHyperBandScheduler` implements it, with
one exception: trial 0, the published configuration, runs to its full length. It needs neither Ray nor a clock.
"""

from bisect import bisect_right, insort
from dataclasses import replace

from pipeline.trials.rungs import Decision, Rungs


class RungResults:
    """The accuracies that trials have reached at one rung.

    The cut-off equals `numpy.percentile` bit for bit. It is computed here because 100,000 calls of numpy would be slow.
    """

    def __init__(self, reduction_factor: int) -> None:
        self._quantile = (1 - 1 / reduction_factor) * 100 / 100  # via per cent, as Ray passes it to numpy
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def cutoff(self) -> float | None:
        """The accuracy that the next trial has to reach; None for the first trial, which always continues."""
        if not self._sorted:
            return None
        virtual = self._quantile * (len(self._sorted) - 1)
        below = int(virtual)
        low, high = self._sorted[below], self._sorted[min(below + 1, len(self._sorted) - 1)]
        share = virtual - below
        # Interpolates from the nearer end, as numpy does.
        return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share

    def passes(self, accuracy: float) -> bool:
        """Adds a result to the rung; returns whether it reaches the cut-off, if there is one."""
        cutoff = self.cutoff
        insort(self._sorted, accuracy)
        return cutoff is None or not accuracy < cutoff

    def num_better(self, accuracy: float) -> int:
        """How many results on the rung are higher."""
        return len(self._sorted) - bisect_right(self._sorted, accuracy)


class Asha:
    """Decides once on each trial at each rung whether it continues, and remembers every decision."""

    def __init__(self, rungs: Rungs) -> None:
        self._rungs = {epoch: RungResults(rungs.reduction_factor) for epoch in rungs.epochs}
        self._decided: dict[tuple[int, int], bool] = {}

    def is_rung(self, epoch: int) -> bool:
        return epoch in self._rungs

    def decided(self, index: int, epoch: int) -> bool | None:
        """Whether a trial continues after a rung; None if that has not been decided yet."""
        return self._decided.get((index, epoch))

    def decide(self, index: int, epoch: int, accuracy: float) -> Decision:
        """Decides whether a trial continues after a rung, if this has not been decided before.

        Args:
            index: the trial's index.
            epoch: the rung.
            accuracy: the trial's validation accuracy at the rung, a fraction.
        """
        rung = self._rungs[epoch]
        cutoff = rung.cutoff  # of the results before this one
        passes = rung.passes(accuracy)
        go_on = self._decided[index, epoch] = passes or index == 0
        return Decision(epoch, accuracy, cutoff, rank=rung.num_better(accuracy) + 1, of=len(rung), go_on=go_on)

    def next_rung(self, epoch: int) -> int | None:
        """The first rung at or after this epoch; None if there is none."""
        return next((rung for rung in self._rungs if rung >= epoch), None)

    def decide_diverged(self, index: int, rung: int) -> Decision:
        """Ranks a trial that diverged before it reached a rung as the worst there, and stops it."""
        decision = replace(self.decide(index, rung, 0.0), go_on=False)
        self._decided[index, rung] = False
        return decision

    def replay(self, index: int, decision: Decision) -> None:
        """Adds a result of an earlier process to its rung, and keeps the decision made then."""
        self._rungs[decision.epoch].passes(decision.accuracy)
        self._decided[index, decision.epoch] = decision.go_on
