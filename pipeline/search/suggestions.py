"""Chooses the next trial from the results so far, with Optuna's tree-structured Parzen estimator through Ray Tune.

Sources: Bergstra et al. 2011 (https://papers.nips.cc/paper/4443); Ray Tune's `OptunaSearch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.search.reports import ACCURACY
from pipeline.trials.records import RESUMABLE, TrialRecord
from tune_spaces.space import Space, drawn_value, first_trials, trial_of
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import DataShape


def refuse_unsuggestable(space: Space, shape: DataShape) -> None:
    """Raises UsageError if the space has a domain that can be drawn from at random, but not suggested from by TPE."""
    from ray.tune.search.optuna import OptunaSearch

    for name, domain in space.domains(shape).items():
        try:
            OptunaSearch.convert_search_space({name: domain})
        except ValueError as error:
            raise UsageError(
                f"--search is tpe, but must be random: it cannot choose values of {name} from the domain in --space:"
                f" {error}"
            ) from error


@dataclass(frozen=True)
class TpeSuggestions:
    """Chooses each trial's hyperparameters from the results of the trials that have ended.

    A trial depends only on these results and on (seed, index). If trials run one at a time, the same seed gives the
    same trials, however often the search was interrupted or extended.
    """

    space: Space
    shape: DataShape
    epochs: int
    seed: int

    def __call__(self, index: int, ended: Sequence[TrialRecord]) -> TrialSpec:
        """Returns the trial to run as number `index`; the first ones are those with which every sweep begins."""
        known = first_trials(self.space, self.shape, self.epochs, self.seed)
        if index < len(known):
            return known[index]
        drawn = self._searcher(index, ended).suggest("next")
        return trial_of(index, drawn, self.space, self.shape, self.epochs, self.seed)

    def _searcher(self, index: int, ended: Sequence[TrialRecord]) -> Any:
        # Both take seconds to import, and only this kind of search needs them.
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=int(np.random.default_rng((self.seed, index, 2)).integers(2**31)))
        ranges = OptunaSearch.convert_search_space(self.space.domains(self.shape))
        searcher = OptunaSearch(ranges, metric=ACCURACY, mode="max", sampler=sampler)
        for record in ended:
            self._add(searcher, record)
        return searcher

    def _add(self, searcher: Any, record: TrialRecord) -> None:
        """Adds a trial's result: one that ASHA stopped counts by how far it got, one that diverged as the worst.

        Trials that failed or are unfinished are skipped.
        """
        if record.outcome in ("failed", *RESUMABLE):
            return
        values = {name: drawn_value(record.spec, name) for name in self.space.domains(self.shape)}
        accuracies = [epoch.accuracy for epoch in record.epochs]
        diverged = record.outcome == "diverged"
        try:
            searcher.add_evaluated_point(
                values,
                0.0 if diverged or not accuracies else max(accuracies),
                pruned=record.outcome == "asha",
                intermediate_values=accuracies,
            )
        except ValueError:
            # The published configuration may lie outside the space; then the searcher cannot learn from it.
            return
