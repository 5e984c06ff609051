"""Decides whether an earlier output of a stage can be reused, and if not, says why the stage runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter

from pipeline.graph.fingerprint import fingerprint
from pipeline.graph.stage import Identity, Stage

DIGEST_OF = "digest of "
"""The prefix of a setting that follows from the others; its change is named only if nothing else changed."""


@dataclass(frozen=True)
class Remembered:
    """An earlier, finished run of a stage."""

    run_id: str
    ended_at: float
    """Seconds since 1970."""
    identity: Identity
    output: Any
    """The stage's output, of its `output_type`."""

    @property
    def digest(self) -> str:
        """Digest of the output, by which dependent stages check that they were computed from exactly this one."""
        return output_digest(self.output)


def output_digest(output: Any) -> str:
    """Returns the digest of an output, which is equal for equal outputs, in any process."""
    return fingerprint(TypeAdapter(type(output)).dump_python(output, mode="json"))


class Memory(Protocol):
    """Knows what has been computed before."""

    def find(self, stage: Stage, fingerprint: str, inputs: Mapping[str, str], own: bool) -> Remembered | None:
        """Returns a finished run with this fingerprint and exactly these inputs: the command's newest, else the newest.

        The inputs are compared since two runs of a search with the same fingerprint need not have the same output:
        ASHA's decisions depend on which trial reports first.

        Args:
            stage: the stage to find.
            fingerprint: the fingerprint of its identity.
            inputs: digests of its inputs' outputs, by stage.
            own: whether only this command's own runs count.
        """

    def latest(self, stage: Stage) -> Identity | None:
        """Returns the identity of a stage's newest finished run, whatever its fingerprint; None if there is none."""


@dataclass(frozen=True)
class ReuseDecision:
    """Whether a stage runs, and why."""

    reason: str
    """The reason in words: `cached from run 3f2a91c0 (2 minutes ago)`, `run, because trials changed (32 -> 48)`."""
    reused: Remembered | None = None
    """The finished run whose output is reused; None if the stage must run."""
    has_own_reason: bool = False
    """Whether the stage has a reason of its own to run, other than an input that runs."""


def reuse_decision(
    stage: Stage,
    identity: Identity,
    inputs: Mapping[str, str],
    rerun_inputs: list[str],
    memory: Memory,
    forced: str | None,
    now: float,
) -> ReuseDecision:
    """Decides whether a stage runs.

    Args:
        stage: the stage.
        identity: what decides its output.
        inputs: digests of its inputs' outputs, by stage, where all of these are known.
        rerun_inputs: the stages before it that run for reasons of their own.
        memory: what has been computed before.
        forced: the flag, if any, by which only this command's own earlier runs count.
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
    """Says why no earlier output can be reused."""
    before = memory.latest(stage)
    if before is None:
        return "it has not finished before"
    if before.fingerprint == identity.fingerprint and stage.inputs:
        return f"it was computed from another run of {' or '.join(stage.inputs)}"
    return _difference(before, identity) or "its earlier output cannot be read"


def _difference(before: Identity, identity: Identity) -> str:
    """Says what has changed since the last finished run; empty if nothing has."""
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
