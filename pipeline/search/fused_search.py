"""Runs a search with fused trials: in each slot, a Ray actor trains one group, or one single trial, after another.

The driver decides on each trial as in any other search. Ray Tune is not used here, since its unit is one configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from pipeline.search.driver import SearchDriver
from pipeline.search.fused_groups import FEWEST, Fusing, fused_groups, in_parts, probed
from pipeline.search.fused_trials import FusedTrials, Reply
from pipeline.search.reports import death_text
from pipeline.search.search import Search
from tune_spaces.trial_spec import TrialSpec

POLL_SECONDS = 0.5
"""The longest time between two checks of whether the user wants to stop."""


@dataclass
class _Part:
    """Trials that are trained as one, or a single trial."""

    specs: list[TrialSpec]
    """The trials that have not ended, in their order."""
    actor: Any = None
    failures: int = 0
    has_begun: bool = False

    @property
    def first(self) -> int:
        """The index of its first trial."""
        return self.specs[0].index


class FusedSearch:
    """Runs all trials of a search if some of them are worth fusing.

    Trials that do not fit into memory even in the smallest part go back to the driver, to be run by Ray Tune.
    """

    def __init__(self, search: Search, driver: SearchDriver) -> None:
        self._search, self._driver = search, driver
        self._waiting: list[_Part] = []
        self._running: dict[Any, _Part] = {}
        """The parts that are being trained, by the reference to the awaited reply."""
        self._idle: list[Any] = []
        """Actors without work, which can train another part."""

    def run(self, fusing: Fusing) -> None:
        """Trains all waiting trials in order, unless the user wants to stop or no time is left.

        Does nothing if no trials are worth fusing.
        """
        try:
            self._choose(fusing)
            while self._may_go_on():
                for reference in self._ready(list(self._running)):
                    self._handle_reply(self._running.pop(reference), reference)
                if self._driver.stopping:
                    self._abandon_unbegun()
        finally:
            for part in self._running.values():  # left over only if an error ends the search
                ray.kill(part.actor)
            self._kill_idle_actors()

    def _choose(self, fusing: Fusing) -> None:
        """Chooses the trials that are trained here, and takes them out of the driver's waiting ones."""
        groups = [group for group in fused_groups(self._driver.waiting) if self._is_worthwhile(group, fusing)]
        if not groups:
            return
        parts = [part for group in groups for part in in_parts(group, self._driver.slots, fusing.most)]
        fused = {spec.index for part in parts for spec in part}
        parts += [[spec] for spec in self._driver.waiting if spec.index not in fused]
        self._enqueue(parts)
        for part in parts:
            for spec in part:
                self._driver.set_aside(spec.index)

    def _enqueue(self, parts: Sequence[list[TrialSpec]]) -> None:
        """Queues parts by their first trial, so that trial 0, which starts however little time is left, comes first."""
        self._waiting = sorted([*self._waiting, *map(_Part, parts)], key=lambda part: part.first)

    def _is_worthwhile(self, group: list[TrialSpec], fusing: Fusing) -> bool:
        return fusing.most is not None or fusing.applies_to(self._gain(probed(group, self._driver.slots, fusing)))

    def _gain(self, specs: list[TrialSpec]) -> float:
        """Measures the gain of fusing on an actor like those that train the trials; 0 if it cannot be measured."""
        actor = self._free_actor()
        reference = actor.gain.remote(specs)
        try:
            while not self._driver.stopping:
                if self._ready([reference]):
                    gain: float = ray.get(reference)
                    self._idle.append(actor)
                    return gain
        except ray.exceptions.RayError:  # whatever it was: trained alone, each trial reports its own error
            pass
        ray.kill(actor)
        return 0.0

    def _may_go_on(self) -> bool:
        """Starts waiting parts while slots are free; returns whether any part is running."""
        driver = self._driver
        while self._waiting and len(self._running) < driver.slots and driver.may_begin(self._waiting[0].first):
            self._start(self._waiting.pop(0))
        self._kill_idle_actors()  # others may be waiting for their resources
        return bool(self._running)

    def _kill_idle_actors(self) -> None:
        """Ends the actors that have no work."""
        for actor in self._idle:
            ray.kill(actor)
        self._idle.clear()

    def _start(self, part: _Part) -> None:
        part.actor, part.has_begun = self._free_actor(), False
        for spec in part.specs:
            self._driver.begin(spec.index)
        self._running[part.actor.begin.remote(part.specs)] = part

    def _free_actor(self) -> Any:
        if self._idle:
            return self._idle.pop()
        allotment = self._search.allotment
        options = ray.remote(FusedTrials).options(num_cpus=allotment.cpus, num_gpus=allotment.gpus)
        return options.remote(self._search.data, self._search.context, self._search.rungs)

    def _ready(self, references: Sequence[Any]) -> list[Any]:
        ready, _ = ray.wait(list(references), num_returns=1, timeout=POLL_SECONDS)
        return list(ready)

    def _handle_reply(self, part: _Part, reference: Any) -> None:
        """Handles a reply of a part's actor, or the death of the actor's process."""
        try:
            reply: Reply = ray.get(reference)
        except ray.exceptions.RayError as error:
            ray.kill(part.actor)
            self._retry_or_split(part, error)
            return
        if reply.out_of_memory:
            ray.kill(part.actor)
            self._make_smaller(part)
            return
        if not part.has_begun:
            part.has_begun = True
            if len(part.specs) > 1:
                self._driver.fused([spec.index for spec in part.specs])
        ended = self._judge(reply)
        part.specs = [spec for spec in part.specs if spec.index not in ended]
        if part.specs:
            self._running[part.actor.next_epochs.remote(ended)] = part
        else:
            self._idle.append(part.actor)

    def _judge(self, reply: Reply) -> set[int]:
        """Passes each report to the driver, one after the other; returns the indices of the trials that have ended."""
        ended: set[int] = set()
        for index, report in reply.reports:
            if index in ended:
                continue
            goes_on = self._driver.goes_on(index, report)
            self._driver.note_report(index, report)
            if not goes_on:
                self._driver.end(index)
                ended.add(index)
        return ended

    def _retry_or_split(self, part: _Part, error: Exception) -> None:
        """Restarts the trials in another process, as often as allowed; after that, in smaller parts."""
        part.failures += 1
        if part.failures <= self._search.max_failures:
            self._start(part)
        elif len(part.specs) > 1:  # an OOM killer leaves no message, and one trial may crash the others
            self._make_smaller(part)
        else:
            self._driver.fail(part.first, death_text(error))

    def _make_smaller(self, part: _Part) -> None:
        """Halves a part that is too large for one process; hands one that is too small to halve back to the driver."""
        if len(part.specs) >= 2 * FEWEST:
            self._enqueue(in_parts(part.specs, 2, most=None))
            return
        for spec in part.specs:
            if len(part.specs) > 1:
                self._driver.kept_apart(spec.index)
            self._driver.put_back(spec.index)

    def _abandon_unbegun(self) -> None:
        """Ends the parts whose process has not started yet: the user wants to stop, and need not wait for them."""
        for reference, part in list(self._running.items()):
            if not part.has_begun:
                del self._running[reference]
                ray.kill(part.actor)
                for spec in part.specs:
                    self._driver.abandon(spec.index)
