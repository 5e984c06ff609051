"""Several trainings of one shape in one process, fused, each with its folder as if it were alone."""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
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

SECONDS_BETWEEN_SAVES = 10.0
"""A GPU does an epoch of small models faster than their states can be written."""
SAVED_AT_ONCE = 8
"""States that are written side by side."""

Entry = dict[str, Any] | NonFiniteLossError
"""An epoch in a training's history, or why the training diverged in it."""


@dataclass
class _Group:
    """Trainings that have done as many epochs."""

    fit: FusedFit
    specs: list[TrialSpec]
    """In the order of the fit's rows."""


class FusedTraining:
    """Goes on from each folder's last epoch. The trainings that are behind the others go first, until they have met."""

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        data: LoadedData,
        context: TrainingContext,
        runtime: Runtime,
        saved_epochs: Collection[int],
    ) -> None:
        """Takes up the trainings from their folders.

        Args:
            specs: must have one `fusing_key`.
            data: of all of them.
            context: as of a training by itself.
            runtime: that of `context`.
            saved_epochs: epochs that are saved as soon as they are done, since something is decided there.
        """
        self._data, self._runtime, self._saved_epochs = data, runtime, frozenset(saved_epochs)
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

    def run_epochs(self) -> list[tuple[int, Entry]]:
        """Trains those that have done the fewest epochs further, and saves them at the end.

        Epochs that take long are saved one by one; of short ones, as many as are done in ten seconds, but for the
        `saved_epochs`. What diverged is no longer trained.

        Returns:
            each epoch of each training by the training's index, the earlier epochs first.

        Raises:
            OSError: a folder cannot be written; what was there still is.
        """
        group, began = self._groups[0], time.monotonic()
        entries: list[tuple[int, Entry]] = []
        while True:
            of_epoch = self._run_epoch(group)
            entries += of_epoch
            diverged = {index for index, entry in of_epoch if isinstance(entry, NonFiniteLossError)}
            if diverged or self._is_due(group) or time.monotonic() - began >= SECONDS_BETWEEN_SAVES:
                break
        self._save(group, diverged)
        self.leave_out(diverged)
        self._join_equals()
        return entries

    def _run_epoch(self, group: _Group) -> list[tuple[int, Entry]]:
        entries: list[tuple[int, Entry]] = []
        for row, (spec, outcome) in enumerate(zip(group.specs, group.fit.run_epoch(), strict=True)):
            if isinstance(outcome, NonFiniteLossError):
                entries.append((spec.index, outcome))
            else:
                entries.append((spec.index, self._folders[spec.index].note(outcome, group.fit[row])))
        return sorted(entries, key=lambda each: each[0])

    def _is_due(self, group: _Group) -> bool:
        """Whether the group has come to where it is saved, or to the group that waits for it."""
        due = {
            *self._saved_epochs,
            group.specs[0].recipe.epochs,
            *(other.fit.epochs_done for other in self._groups[1:]),
        }
        return group.fit.epochs_done in due

    def _save(self, group: _Group, diverged: Collection[int]) -> None:
        def save(row: int) -> None:
            folder = self._folders[group.specs[row].index]
            if group.specs[row].index in diverged:
                folder.write_derived_files()  # it goes on no more: what it had learnt before is kept
            else:
                folder.save(group.fit[row])

        with ThreadPoolExecutor(SAVED_AT_ONCE) as pool:
            list(pool.map(save, range(len(group.specs))))

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
