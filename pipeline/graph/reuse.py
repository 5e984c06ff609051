"""Whether a stage has been computed before, and if not, why it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter

from pipeline.graph.fingerprint import fingerprint
from pipeline.graph.stage import Identity, Stage

DIGEST_OF = "digest of "
"""So begins the name of what follows from the rest of the configuration; it is told where nothing else changed."""


@dataclass(frozen=True)
class Remembered:
    """A stage that has finished before."""

    run_id: str
    ended_at: float
    """Seconds since 1970."""
    identity: Identity
    output: Any
    """Of the stage's `output_type`."""

    @property
    def digest(self) -> str:
        """Digest of the output, by which dependent stages check that they were computed from exactly this one."""
        return output_digest(self.output)


def output_digest(output: Any) -> str:
    """Equal for equal outputs, in any process."""
    return fingerprint(TypeAdapter(type(output)).dump_python(output, mode="json"))


class Memory(Protocol):
    """What has been computed before."""

    def find(self, stage: Stage, fingerprint: str, inputs: Mapping[str, str], own: bool) -> Remembered | None:
        """A finished run with this fingerprint that read these very inputs: the command's newest, else the newest.

        Two runs of a search with one fingerprint need not find the same: ASHA decides by who arrives first.

        Args:
            stage: which.
            fingerprint: of its identity.
            inputs: digests of its inputs' outputs, by stage.
            own: of the present command's runs only.
        """

    def latest(self, stage: Stage) -> Identity | None:
        """What the newest finished run of a stage was, whatever its fingerprint."""


@dataclass(frozen=True)
class ReuseDecision:
    """Whether a stage runs, and why."""

    reason: str
    """In words: `cached from run 3f2a91c0 (2 minutes ago)`, `run, because trials changed (32 -> 48)`."""
    reused: Remembered | None = None
    """The finished run whose output is reused; None if the stage must run."""
    has_own_reason: bool = False
    """Whether it has a reason of its own to run, besides an input that runs."""


def reuse_decision(
    stage: Stage,
    identity: Identity,
    inputs: Mapping[str, str],
    rerun_inputs: list[str],
    memory: Memory,
    forced: str | None,
    now: float,
) -> ReuseDecision:
    """Whether a stage runs.

    Args:
        stage: which.
        identity: what decides its output.
        inputs: digests of its inputs' outputs, by stage, where all of these are known.
        rerun_inputs: the stages before it that run for reasons of their own.
        memory: what has been computed before.
        forced: the flag, if any, by which only this very command's earlier work counts.
        now: seconds since 1970.
    """
    if rerun_inputs:
        return ReuseDecision(f"run, because {' and '.join(rerun_inputs)} {'runs' if len(rerun_inputs) == 1 else 'run'}")
    found = memory.find(stage, identity.fingerprint, inputs, own=forced is not None)
    if found is None:
        reason = f"{forced} says so" if forced else _why(stage, identity, memory)
        return ReuseDecision(f"run, because {reason}", has_own_reason=True)
    misfit = stage.misfit(found.output)
    if misfit is not None:
        return ReuseDecision(f"run, because {misfit}", has_own_reason=True)
    missing = stage.missing(found.output)
    if missing is not None:
        return ReuseDecision(f"run, because {missing} is gone", has_own_reason=True)
    return ReuseDecision(f"cached from run {found.run_id[:8]} ({_ago(now - found.ended_at)})", found)


def _why(stage: Stage, identity: Identity, memory: Memory) -> str:
    """Why nothing that was computed before serves."""
    before = memory.latest(stage)
    if before is None:
        return "it has not finished before"
    if before.fingerprint == identity.fingerprint and stage.inputs:
        return f"it was computed from another run of {' or '.join(stage.inputs)}"
    return _difference(before, identity) or "its earlier output cannot be read"


def _difference(before: Identity, identity: Identity) -> str:
    """What has changed since the last finished run."""
    changes = {
        name: f"{name} changed ({before.settings.get(name, 'unset')} -> {identity.settings.get(name, 'unset')})"
        for name in sorted({*before.settings, *identity.settings})
        if before.settings.get(name) != identity.settings.get(name)
    }
    reasons = [text for name, text in changes.items() if not name.startswith(DIGEST_OF)]
    modules = sorted({*before.code.items()} ^ {*identity.code.items()})
    if modules:
        reasons.append(f"its code changed ({', '.join(dict(modules))})")
    reasons += [
        f"its input {name} changed"
        for name, fingerprint in identity.inputs.items()
        if before.inputs.get(name) != fingerprint
    ]
    return " and ".join(reasons or changes.values())


def _ago(seconds: float) -> str:
    seconds = max(0.0, seconds)  # another machine's clock may be ahead
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
