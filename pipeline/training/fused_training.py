"""Several trainings of one shape in one process, fused, each with its folder as if it were alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.training.training import LoadedData, TrainingContext
from pipeline.training.training_folder import Found, TrainingFolder
from pipeline.trials.folder import TrialHistory
from tune_spaces.trial_spec import TrialSpec
from vit.fused.fit import FusedFit
from vit.training.fit import NonFiniteLossError
from vit.training.machine import Machine
from vit.training.runtime import Runtime


@dataclass
class _Group:
    """Trainings that have done as many epochs."""

    fit: FusedFit
    specs: list[TrialSpec]
    """In the order of the fit's rows."""


class FusedTraining:
    """Goes on from each folder's last epoch. The trainings that are behind the others go first, until they have met."""

    def __init__(
        self, specs: Sequence[TrialSpec], data: LoadedData, context: TrainingContext, runtime: Runtime
    ) -> None:
        """The specs must have one `fusing_key`."""
        self._data, self._runtime = data, runtime
        self._folders = {spec.index: TrainingFolder(spec, context.folder, data.class_names) for spec in specs}
        found = {index: folder.read() for index, folder in self._folders.items()}
        by_age: dict[int, list[TrialSpec]] = {}
        for spec in specs:
            by_age.setdefault(_epochs_done(found[spec.index]), []).append(spec)
        self._groups = [self._group(specs, found) for _, specs in sorted(by_age.items())]

    def _group(self, specs: list[TrialSpec], found: dict[int, Found]) -> _Group:
        """Trainings that have done as many epochs, taken up from what was found in their folders."""
        fit = self._fit(specs)
        states = [state["fit"] for spec in specs if (state := found[spec.index].state) is not None]
        if states:
            fit.load_state_dicts(states)
        is_done = fit.epochs_done >= specs[0].recipe.epochs
        for row, spec in enumerate(specs):
            machine = None if is_done else Machine.here(self._runtime.device, workers=1)
            self._folders[spec.index].begin(fit[row], found[spec.index], self._data.normalisation, machine)
        return _Group(fit, specs)

    def _fit(self, specs: list[TrialSpec]) -> FusedFit:
        recipes, seeds = [spec.recipe for spec in specs], [spec.seed for spec in specs]
        images = (self._data.train, self._data.validation, self._data.normalisation)
        return FusedFit(specs[0].model, recipes, self._runtime, *images, seeds)

    def history(self, index: int) -> TrialHistory:
        return self._folders[index].history

    def run_epoch(self) -> list[tuple[int, dict[str, Any] | NonFiniteLossError]]:
        """Trains the next epoch of those that have done the fewest, and saves it.

        Gives each one's entry in its history, or why it diverged; what diverged is no longer trained.

        Raises:
            OSError: a folder cannot be written; what was there still is.
        """
        group = self._groups[0]
        outcomes = group.fit.run_epoch()
        entries: list[tuple[int, dict[str, Any] | NonFiniteLossError]] = []
        for row, (spec, outcome) in enumerate(zip(group.specs, outcomes, strict=True)):
            if isinstance(outcome, NonFiniteLossError):
                entries.append((spec.index, outcome))
            else:
                entries.append((spec.index, self._folders[spec.index].add(outcome, group.fit[row])))
        self.leave_out({index for index, entry in entries if isinstance(entry, NonFiniteLossError)})
        self._join_equals()
        return entries

    def leave_out(self, indices: Collection[int]) -> None:
        """Trains these no further."""
        for group in self._groups:
            rows = [row for row, spec in enumerate(group.specs) if spec.index not in indices]
            if 0 < len(rows) < len(group.specs):
                group.fit.keep(rows)
            group.specs = [group.specs[row] for row in rows]
        self._groups = [group for group in self._groups if group.specs]

    def _join_equals(self) -> None:
        """Where the first have caught up with the next, they go on together."""
        if len(self._groups) < 2 or self._groups[0].fit.epochs_done < self._groups[1].fit.epochs_done:
            return
        first, second, *rest = self._groups
        specs = [*first.specs, *second.specs]
        fit = self._fit(specs)
        fit.load_state_dicts([group.fit.plain_state(row) for group in (first, second) for row in range(len(group.fit))])
        self._groups = [_Group(fit, specs), *rest]


def _epochs_done(found: Found) -> int:
    return int(found.state["fit"]["epochs_done"]) if found.state is not None else 0
