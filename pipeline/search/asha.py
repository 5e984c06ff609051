"""ASHA's stopping rule: at each rung, about one trial in `reduction_factor` continues. Needs neither Ray nor a clock.

It is the stopping variant of Li et al. 2020 (arXiv:1810.05934) as Ray's `AsyncHyperBandScheduler` has it, with one
exception: trial 0, the published configuration, runs to its full length.
"""

from bisect import bisect_right, insort
from dataclasses import replace

from pipeline.trials.rungs import Decision, Rungs


class RungResults:
    """The accuracies on one rung.

    The cut-off is numpy's percentile, to the last bit; numpy itself would be slow to ask 100,000 times.
    """

    def __init__(self, reduction_factor: int) -> None:
        self._quantile = (1 - 1 / reduction_factor) * 100 / 100  # as Ray asks numpy for it, in per cent
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def cutoff(self) -> float | None:
        """What the next trial has to reach; None for the first, which always goes on."""
        if not self._sorted:
            return None
        virtual = self._quantile * (len(self._sorted) - 1)
        below = int(virtual)
        low, high = self._sorted[below], self._sorted[min(below + 1, len(self._sorted) - 1)]
        share = virtual - below
        # From the nearer end, as numpy interpolates.
        return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share

    def passes(self, accuracy: float) -> bool:
        """Whether a result goes on; it counts on the rung from then on."""
        cutoff = self.cutoff
        insort(self._sorted, accuracy)
        return cutoff is None or not accuracy < cutoff

    def num_better(self, accuracy: float) -> int:
        """How many results on the rung are higher."""
        return len(self._sorted) - bisect_right(self._sorted, accuracy)


class Asha:
    """Decides on each trial once at each rung; asked again, it answers the same."""

    def __init__(self, rungs: Rungs) -> None:
        self._rungs = {epoch: RungResults(rungs.reduction_factor) for epoch in rungs.epochs}
        self._decided: dict[tuple[int, int], bool] = {}

    def is_rung(self, epoch: int) -> bool:
        return epoch in self._rungs

    def decided(self, index: int, epoch: int) -> bool | None:
        """Whether a trial goes on from a rung; None where nothing has been decided there."""
        return self._decided.get((index, epoch))

    def decide(self, index: int, epoch: int, accuracy: float) -> Decision:
        """Decides on a trial at a rung where nothing has been decided on it before.

        Args:
            index: of the trial.
            epoch: the rung.
            accuracy: the trial's there, of the validation images: a fraction.
        """
        rung = self._rungs[epoch]
        cutoff = rung.cutoff  # of those before it
        passes = rung.passes(accuracy)
        go_on = self._decided[index, epoch] = passes or index == 0
        return Decision(epoch, accuracy, cutoff, rank=rung.num_better(accuracy) + 1, of=len(rung), go_on=go_on)

    def next_rung(self, epoch: int) -> int | None:
        """The first rung that stands at this epoch or above it."""
        return next((rung for rung in self._rungs if rung >= epoch), None)

    def decide_diverged(self, index: int, rung: int) -> Decision:
        """Puts a trial that diverged before it had come to a rung there as the worst; it goes nowhere."""
        decision = replace(self.decide(index, rung, 0.0), go_on=False)
        self._decided[index, rung] = False
        return decision

    def replay(self, index: int, decision: Decision) -> None:
        """Puts an earlier process's result on its rung, and keeps to its decision."""
        self._rungs[decision.epoch].passes(decision.accuracy)
        self._decided[index, decision.epoch] = decision.go_on
