"""Trains several models of one shape, fused, in one process; each has its own folder, as if trained alone."""

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
"""How often short epochs are saved: a GPU trains an epoch of small models faster than their states can be written."""
SAVED_AT_ONCE = 8
"""How many states are written at the same time."""

Entry = dict[str, Any] | NonFiniteLossError
"""An epoch's entry in a training's history, or the error if the training diverged in that epoch."""


@dataclass
class _Group:
    """Trainings that have all done the same number of epochs."""

    fit: FusedFit
    specs: list[TrialSpec]
    """In the order of the fit's rows."""


class FusedTraining:
    """Fused trainings, each of which resumes from its folder's last epoch.

    Those with the fewest epochs are trained first, until they have caught up with the others.
    """

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        data: LoadedData,
        context: TrainingContext,
        runtime: Runtime,
        saved_epochs: Collection[int],
    ) -> None:
        """Resumes the trainings from their folders.

        Args:
            specs: the trainings; they must all have the same `fusing_key`.
            data: the data of all of them.
            context: the same as for a single training.
            runtime: the runtime for `context`.
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
        """Returns a group of trainings with the same number of epochs, resumed from what was found in their folders."""
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
        """Trains the group with the fewest epochs further, and saves it at the end.

        Long epochs are saved one by one; short ones together, as many as are done in ten seconds, but the
        `saved_epochs` always as soon as they are done. A training that diverged is trained no further.

        Returns:
            the entry of each epoch of each training, with the training's index; earlier epochs come first.

        Raises:
            OSError: a folder cannot be written; what it held before is still there.
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
        """Whether the group has reached an epoch at which it is saved, or has caught up with another group."""
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
                folder.write_derived_files()  # it is trained no further; its best epoch before that is kept
            else:
                folder.save(group.fit[row])

        with ThreadPoolExecutor(SAVED_AT_ONCE) as pool:
            list(pool.map(save, range(len(group.specs))))

    def leave_out(self, indices: Collection[int]) -> None:
        """Drops these trainings, which are trained no further."""
        for group in self._groups:
            rows = [row for row, spec in enumerate(group.specs) if spec.index not in indices]
            if 0 < len(rows) < len(group.specs):
                group.fit.keep(rows)
            group.specs = [group.specs[row] for row in rows]
        self._groups = [group for group in self._groups if group.specs]

    def _join_equals(self) -> None:
        """Merges the first group with the second if it has caught up: from then on they are trained together."""
        if len(self._groups) < 2 or self._groups[0].fit.epochs_done < self._groups[1].fit.epochs_done:
            return
        first, second, *rest = self._groups
        specs = [*first.specs, *second.specs]
        fit = self._fit(specs)
        fit.load_state_dicts([group.fit.plain_state(row) for group in (first, second) for row in range(len(group.fit))])
        self._groups = [_Group(fit, specs), *rest]


def _epochs_done(found: Found) -> int:
    return int(found.state["fit"]["epochs_done"]) if found.state is not None else 0
