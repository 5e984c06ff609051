"""Defines the events that are written to MLflow (a run's start, additions and end), and the tags that they use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import PipelineError

Status = Literal["FINISHED", "KILLED", "FAILED"]
LONGEST_TAG = 8000  # MLflow refuses longer values
RECORD_TAG = "pipeline.record"
"""The tag whose value is `<owner>/<key>`, by which a run is found again, also by another process."""
ENDING_TAGS = ("pipeline.stopped", "pipeline.error")


class TrackingError(PipelineError):
    """What was measured could not be written to the tracking server."""


@dataclass(frozen=True)
class DatasetReference:
    """The data set that a run was computed on."""

    name: str
    digest: str
    source: str


@dataclass(frozen=True)
class StartRun:
    key: str
    name: str
    parent: str | None
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    dataset: DatasetReference | None
    at: int


@dataclass(frozen=True)
class LogRun:
    """Additions to a run: metrics at a step, tags, the files of a folder, and the status with which the run ends."""

    key: str
    at: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    once: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Path | None = None
    """A folder, which is removed once its files are written."""
    status: Status | None = None


@dataclass(frozen=True)
class EarlierRun:
    """A run that an earlier process of the same owner wrote."""

    run_id: str
    status: str
    ending: dict[str, str]
    """Its tags among `ENDING_TAGS`, which say how it ended."""
