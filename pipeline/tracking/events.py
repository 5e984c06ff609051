"""What is written to MLflow: the start of a run, what is added to it, its end; and the names that all of it goes by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import PipelineError

Status = Literal["FINISHED", "KILLED", "FAILED"]
LONGEST_TAG = 8000  # MLflow refuses longer values
RECORD_TAG = "pipeline.record"
"""`<owner>/<key>`: by it a run is found again, by another process too."""
ENDING_TAGS = ("pipeline.stopped", "pipeline.error")


class TrackingError(PipelineError):
    """What was measured could not be written to the tracking server."""


@dataclass(frozen=True)
class DatasetReference:
    """What a run was computed on."""

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
    """Whatever is added to a run: metrics at a step, tags, files of a folder, and its end."""

    key: str
    at: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    once: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Path | None = None
    """A folder; it is removed when its files are written."""
    status: Status | None = None


@dataclass(frozen=True)
class EarlierRun:
    """A run that an earlier process of the same owner wrote."""

    run_id: str
    status: str
    ending: dict[str, str]
    """What its end was tagged."""
