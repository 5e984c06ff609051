"""Experiments: which one of the target each of the source becomes, and where its files are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import sqlalchemy as sa
from mlflow.utils.file_utils import local_file_uri_to_path

from pipeline.copy_store.tables import table
from pipeline.errors import UsageError

SERVED = "mlflow-artifacts:/"
"""So begins the location of artifacts that go through the server."""


@dataclass(frozen=True)
class Experiment:
    """One of the source, as it is to be in the target."""

    name: str
    old_id: int
    new_id: int
    recorded: str
    """Where its files are, by the source's rows: a path or URI."""
    root: str
    """Where they are now; below it the paths are the recorded ones."""

    def now(self, location: str) -> str:
        """Where something of it lies now, by where it is recorded: a path or URI that fsspec takes."""
        below = location.removeprefix(self.recorded)
        return _plain(location if below == location else f"{self.root}{below}")


def source_experiments(source: sa.Connection, folder: Path | None) -> list[tuple[dict[str, Any], str]]:
    """The rows of the source's experiments, each with the path or URI where its files are now.

    Args:
        source: where they are.
        folder: of the source's database; None where that is no file.

    Raises:
        UsageError: the files of one that has runs cannot be found.
    """
    experiments, runs = table("experiments"), table("runs")
    used = set(source.scalars(sa.select(runs.c.experiment_id).distinct()))
    rows = [dict(row) for row in source.execute(sa.select(experiments)).mappings()]
    return [(row, _root(row, folder) if row["experiment_id"] in used else row["artifact_location"]) for row in rows]


def take_up_experiments(target: sa.Connection, found: list[tuple[dict[str, Any], str]]) -> list[Experiment]:
    """Finds each experiment in the target by its name, and makes those that are missing."""
    experiments = table("experiments")
    there = {row.name: row.experiment_id for row in target.execute(sa.select(experiments))}
    return [
        Experiment(
            row["name"],
            row["experiment_id"],
            there[row["name"]] if row["name"] in there else _made(target, row),
            row["artifact_location"],
            root,
        )
        for row, root in found
    ]


def _made(target: sa.Connection, row: dict[str, Any]) -> int:
    """Its id, which the database gives it."""
    experiments = table("experiments")
    values = {name: value for name, value in row.items() if name != "experiment_id"}
    new_id: int = target.execute(sa.insert(experiments).returning(experiments.c.experiment_id), values).scalar_one()
    change = sa.update(experiments).where(experiments.c.experiment_id == new_id)
    target.execute(change.values(artifact_location=f"{SERVED}{new_id}"))
    return new_id


def _root(row: dict[str, Any], folder: Path | None) -> str:
    """Where it is recorded, else beside the database: the whole folder may have come from another machine."""
    candidates = [row["artifact_location"], *([str(folder / "mlartifacts" / row["name"])] if folder else [])]
    for candidate in candidates:
        try:
            fs, path = fsspec.core.url_to_fs(_plain(candidate))
            if fs.exists(path):
                return str(candidate)
        except (OSError, ImportError, ValueError) as error:  # no bucket; no client for this kind; no such kind
            raise UsageError(
                f"--from: the files of experiment {row['name']} in {candidate} cannot be read: {error}"
            ) from error
    raise UsageError(f"--from: the files of experiment {row['name']} are not in {' nor in '.join(candidates)}")


def _plain(location: str) -> str:
    """A local URI as a path, since fsspec takes `%20` for three characters."""
    if not location.startswith("file:"):
        return location
    return str(local_file_uri_to_path(location))  # type: ignore[no-untyped-call]
