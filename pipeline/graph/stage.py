"""A stage, and what decides its output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.graph.fingerprint import fingerprint

Plain = str | int | float | bool | None


@dataclass(frozen=True)
class Stage:
    """A named step.

    `run` gets the outputs of `inputs` by their names and gives its own: small, of type `gives`, with all that is big
    referred to.
    """

    name: str
    inputs: tuple[str, ...]
    run: Callable[..., Any]
    gives: type
    reads: Mapping[str, Plain] = field(default_factory=dict)
    """The configuration that decides its output, by names that a user knows."""
    code: Mapping[str, str] = field(default_factory=dict)
    """The code that decides its output: a digest by module."""
    missing: Callable[[Any], str | None] = lambda output: None
    """Says what an output refers to and is no longer there."""
    misfit: Callable[[Any], str | None] = lambda output: None
    """Says why an output, maybe of another command, does not go with what this one has already."""


@dataclass(frozen=True)
class Identity:
    """All that decides a stage's output."""

    reads: Mapping[str, Plain]
    code: Mapping[str, str]
    inputs: Mapping[str, str]
    """Fingerprints, by stage."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits; equal where the same would be computed."""
        return fingerprint([dict(self.reads), dict(self.code), dict(self.inputs)])
