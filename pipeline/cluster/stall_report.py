"""The text of the watchdog's report: who holds what, what waits for what, and how far the trials are."""

from collections import Counter
from dataclasses import dataclass

from pipeline.cluster.resource_holders import Claim, Node, Resources, ResourceTable, user_resources, waiting_reason
from pipeline.trials.records import EpochRecord

MOST_LINES = 20
"""The largest number of lines of each kind in a report."""


@dataclass
class RunningTrial:
    """A trial that has started and has not ended."""

    epochs: int
    since: float
    """When it started, or when its last epoch was reported."""
    last: EpochRecord | None = None
    together: int = 1
    """How many trials are fused with it, itself included; each one's `epoch_seconds` are a share of an epoch's."""
    trained: float = 0.0
    """The seconds that its last epoch took in this command; 0 if an earlier command trained that epoch."""


def stall_lines(quiet: float, table: ResourceTable) -> list[str]:
    # If there are too many lines, the last are cut. So holders of other drivers come first, since they hold what is
    # missing here; of all that waits, what belongs to this process comes first.
    held = [f"{_asked(claim)} held by {_whose(claim)}" for claim in _sorted(table.held, others_first=True)]
    waiting = [_waiting_line(claim, table.nodes) for claim in _sorted(table.waiting, others_first=False)]
    if not waiting and not table.unread:
        waiting = ["nothing waits for resources"]
    dead = [f"dead node {line}" for line in table.dead]
    unread = [f"could not be read: {line}" for line in table.unread]
    lines = [line for kind in (held, waiting, dead, unread) for line in _capped(kind)]
    return [f"nothing has progressed for {_span(quiet)}{_sums(table)}", *(f"  {line}" for line in lines)]


def _sums(table: ResourceTable) -> str:
    """Says how much is held of the cores, the GPUs, and everything else that something waits for."""
    if not table.nodes:
        return ""
    asked = [kind for claim in table.waiting for bundle in claim.bundles for kind in user_resources(bundle)]
    sums = {kind: table.sums(kind) for kind in ("CPU", "GPU", *asked)}
    return ": " + ", ".join(
        f"{kind} {_number(kind, held)} of {_number(kind, total)} held" for kind, (held, total) in sums.items()
    )


def _sorted(claims: list[Claim], others_first: bool) -> list[Claim]:
    return sorted(claims, key=lambda claim: ((claim.driver is None) == others_first, claim.owner))


def _whose(claim: Claim) -> str:
    return claim.owner if claim.driver is None else f"{claim.owner}, of another driver ({claim.driver})"


def _waiting_line(claim: Claim, nodes: list[Node]) -> str:
    if not any(user_resources(bundle) for bundle in claim.bundles):
        return f"{_whose(claim)} waits for no resource of its own"
    return f"{_whose(claim)} waits for {_asked(claim)}: {waiting_reason(claim, nodes)}"


def trial_lines(running: dict[tuple[int, int], RunningTrial], now: float) -> list[str]:
    if not running:
        return ["no trial is under way"]
    return _capped([_trial_line(index, trial, now - trial.since) for (index, _), trial in sorted(running.items())])


def _trial_line(index: int, trial: RunningTrial, ago: float) -> str:
    if trial.last is None:
        return f"trial {index} started {_span(ago)} ago, no epoch yet"
    took = trial.last.metrics.get("epoch_seconds")
    length = "" if took is None else f"; that epoch took {_span(took)}"
    return f"trial {index} ended epoch {trial.last.number} of {trial.epochs}, {_span(ago)} ago{length}"


def _capped(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], f"... and {rest} more like these"] if rest > 0 else lines


def _asked(claim: Claim) -> str:
    """Formats the amounts of a claim; equal bundles are written once, with their count."""
    counts = Counter(_amounts(bundle) for bundle in claim.bundles)
    return " + ".join(text if count == 1 else f"{count} x ({text})" for text, count in counts.items())


def _amounts(resources: Resources) -> str:
    return (
        ", ".join(f"{kind} {_number(kind, amount)}" for kind, amount in user_resources(resources).items())
        or "no resource"
    )


def _number(kind: str, amount: float) -> str:
    if kind != "memory":
        return f"{round(amount, 4) + 0:g}"  # adding 0 avoids the -0 that rounding may give
    return f"{amount / 1e9:.1f} GB" if amount >= 1e8 else f"{amount:.0f} B"


def _span(seconds: float) -> str:
    if seconds < 100:
        return _counted(seconds, "second")
    return _counted(seconds / 60, "minute") if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"


def _counted(count: float, unit: str) -> str:
    return f"{count:.3g} {unit}" + ("" if f"{count:.3g}" == "1" else "s")
