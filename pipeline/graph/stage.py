"""Defines a stage of the graph, and what decides its output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.graph.fingerprint import fingerprint

PlainValue = str | int | float | bool | None


@dataclass(frozen=True)
class Stage:
    """A named step of a graph.

    `run` gets the outputs of `inputs` by their names and returns its own output, of type `output_type`. An output is
    small: it refers to anything large, such as weights, instead of holding it.
    """

    name: str
    inputs: tuple[str, ...]
    run: Callable[..., Any]
    output_type: type
    settings: Mapping[str, PlainValue] = field(default_factory=dict)
    """The configuration that decides its output, by names that a user knows."""
    code: Mapping[str, str] = field(default_factory=dict)
    """The code that decides its output: a digest by module."""
    missing: Callable[[Any], str | None] = lambda output: None
    """Names what the output refers to but no longer exists; None if all of it exists."""
    misfit: Callable[[Any], str | None] = lambda output: None
    """Says why an output, perhaps of another command, does not fit what this command has already; None if it fits."""


@dataclass(frozen=True)
class Identity:
    """All that decides a stage's output."""

    settings: Mapping[str, PlainValue]
    """The configuration that decides its output, by names that a user knows."""
    code: Mapping[str, str]
    inputs: Mapping[str, str]
    """The fingerprints of the stage's inputs, by their names."""

    @property
    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits, which are equal if the same would be computed."""
        return fingerprint([dict(self.settings), dict(self.code), dict(self.inputs)])
