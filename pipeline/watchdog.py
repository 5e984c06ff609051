"""Where nothing progresses for long, the command says which resource is held by whom and what waits."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.holdings import Claim, Holdings, Node, Resources, prospect, read_holdings, visible
from pipeline.ranking import EpochRecord, TrialRecord
from pipeline.trials.observers import Observer
from tune_spaces.space import TrialSpec

SECONDS_FOR_RAY = 30.0
"""How long Ray may take to answer; while its control store is away, it does not."""
MOST_LINES = 20
"""Of each kind."""


@dataclass
class _Running:
    """A trial that has started and not ended."""

    epochs: int
    since: float
    """When it started, or its last epoch was told."""
    last: EpochRecord | None = None


class Watchdog(Observer):
    """Observes the trials; reports when no news has come for `minutes`, and again each time that they pass.

    Use as a context manager around the training; it tells nothing once that is left.
    """

    def __init__(
        self,
        minutes: float,
        say: Callable[[str], None],
        read: Callable[[], Holdings] = read_holdings,
        clock: Callable[[], float] = time.monotonic,
        patience: float = SECONDS_FOR_RAY,
    ) -> None:
        self._period = minutes * 60
        self._say, self._read, self._clock, self._patience = say, read, clock, patience
        self._news = clock()
        self._due = self._news + self._period
        self._running: dict[tuple[int, int], _Running] = {}
        self._lock = threading.Lock()
        """Over the three above."""
        self._over = threading.Event()
        self._saying = threading.Lock()
        self._reader: threading.Thread | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self.progressed()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._saying:
            self._over.set()
        self._thread.join(timeout=1.0)  # it may be waiting for Ray

    def trial_started(self, spec: TrialSpec) -> None:
        with self._lock:
            self._progressed()
            self._running[spec.index, spec.seed] = _Running(spec.recipe.epochs, self._news)

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        with self._lock:
            self._progressed()
            self._running[spec.index, spec.seed] = _Running(spec.recipe.epochs, self._news, epoch)

    def checkpoint_refused(self, spec: TrialSpec, reason: str) -> None:
        self.progressed()

    def trial_ended(self, record: TrialRecord) -> None:
        with self._lock:
            self._progressed()
            self._running.pop((record.spec.index, record.spec.seed), None)

    def trial_restored(self, record: TrialRecord) -> None:
        self.progressed()

    def progressed(self) -> None:
        """Tells of any other progress than a trial's."""
        with self._lock:
            self._progressed()

    def _progressed(self) -> None:
        self._news = self._clock()
        self._due = self._news + self._period

    def _watch(self) -> None:
        while not self._over.wait(min(self.look(), threading.TIMEOUT_MAX)):
            pass

    def look(self) -> float:
        """Reports where a report is due; gives the seconds until one may be."""
        with self._lock:
            now = self._clock()
            if now < self._due:
                return self._due - now
            self._due = now + self._period
            news, trials = self._news, _trial_lines(self._running, now)
        lines = [*_report(now - news, self._holdings()), *(f"  {line}" for line in trials)]
        with self._lock:
            stale, wait = self._news != news, max(0.0, self._due - self._clock())
        with self._saying:
            if not stale and not self._over.is_set():  # Ray may have taken its time
                self._say("\n".join(lines))
        return wait

    def _holdings(self) -> Holdings:
        """What Ray says, if it answers."""
        if self._reader is not None and self._reader.is_alive():
            return Holdings(unread=["Ray has not answered since the report before"])
        answers: list[Holdings] = []
        self._reader = threading.Thread(target=lambda: answers.append(self._read_safely()), daemon=True)
        self._reader.start()
        self._reader.join(self._patience)
        return answers[0] if answers else Holdings(unread=[f"Ray has not answered in {self._patience:g} seconds"])

    def _read_safely(self) -> Holdings:
        try:
            return self._read()
        except Exception as error:  # whatever it is: the training goes on, and the rest of the report is of use
            return Holdings(unread=[f"{type(error).__name__}: {error}"])


def _report(quiet: float, holdings: Holdings) -> list[str]:
    # Should there be too many lines: others hold what is missing here, and what waits here is what counts.
    held = [f"{_asked(claim)} held by {_whose(claim)}" for claim in _sorted(holdings.held, others_first=True)]
    waiting = [_waiting_line(claim, holdings.nodes) for claim in _sorted(holdings.waiting, others_first=False)]
    if not waiting and not holdings.unread:
        waiting = ["nothing waits for resources"]
    dead = [f"dead node {line}" for line in holdings.dead]
    unread = [f"could not be read: {line}" for line in holdings.unread]
    lines = [line for kind in (held, waiting, dead, unread) for line in _capped(kind)]
    return [f"nothing has progressed for {_span(quiet)}{_sums(holdings)}", *(f"  {line}" for line in lines)]


def _sums(holdings: Holdings) -> str:
    """Of cores, GPUs, and whatever else somebody waits for."""
    if not holdings.nodes:
        return ""
    asked = [kind for claim in holdings.waiting for bundle in claim.bundles for kind in visible(bundle)]
    sums = {kind: holdings.sums(kind) for kind in ("CPU", "GPU", *asked)}
    return ": " + ", ".join(
        f"{kind} {_number(kind, held)} of {_number(kind, total)} held" for kind, (held, total) in sums.items()
    )


def _sorted(claims: list[Claim], others_first: bool) -> list[Claim]:
    return sorted(claims, key=lambda claim: ((claim.driver is None) == others_first, claim.owner))


def _whose(claim: Claim) -> str:
    return claim.owner if claim.driver is None else f"{claim.owner}, of another driver ({claim.driver})"


def _waiting_line(claim: Claim, nodes: list[Node]) -> str:
    if not any(visible(bundle) for bundle in claim.bundles):
        return f"{_whose(claim)} waits for no resource of its own"
    return f"{_whose(claim)} waits for {_asked(claim)}: {prospect(claim, nodes)}"


def _trial_lines(running: dict[tuple[int, int], _Running], now: float) -> list[str]:
    if not running:
        return ["no trial is under way"]
    return _capped([_trial_line(index, trial, now - trial.since) for (index, _), trial in sorted(running.items())])


def _trial_line(index: int, trial: _Running, ago: float) -> str:
    if trial.last is None:
        return f"trial {index} started {_span(ago)} ago, no epoch yet"
    took = trial.last.metrics.get("epoch_seconds")
    length = "" if took is None else f"; that epoch took {_span(took)}"
    return f"trial {index} ended epoch {trial.last.number} of {trial.epochs}, {_span(ago)} ago{length}"


def _capped(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], f"... and {rest} more like these"] if rest > 0 else lines


def _asked(claim: Claim) -> str:
    """The amounts; equal bundles once."""
    counts = Counter(_amounts(bundle) for bundle in claim.bundles)
    return " + ".join(text if count == 1 else f"{count} x ({text})" for text, count in counts.items())


def _amounts(resources: Resources) -> str:
    return ", ".join(f"{kind} {_number(kind, amount)}" for kind, amount in visible(resources).items()) or "no resource"


def _number(kind: str, amount: float) -> str:
    if kind != "memory":
        return f"{round(amount, 4) + 0:g}"  # no -0 for what floats make of nothing
    return f"{amount / 1e9:.1f} GB" if amount >= 1e8 else f"{amount:.0f} B"


def _span(seconds: float) -> str:
    if seconds < 100:
        return _counted(seconds, "second")
    return _counted(seconds / 60, "minute") if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"


def _counted(count: float, unit: str) -> str:
    return f"{count:.3g} {unit}" + ("" if f"{count:.3g}" == "1" else "s")
