"""Maps each experiment of the source to one of the target, and finds where its files are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import sqlalchemy as sa
from mlflow.utils.file_utils import local_file_uri_to_path

from pipeline.copy_store.tables import table
from pipeline.errors import UsageError

SERVED = "mlflow-artifacts:/"
"""The prefix of artifact locations that are served by the tracking server."""


@dataclass(frozen=True)
class Experiment:
    """An experiment of the source, with its id in the target."""

    name: str
    old_id: int
    new_id: int
    recorded: str
    """Where its files are according to the source's rows: a path or URI."""
    root: str
    """Where its files are now; below it, their paths are as recorded."""

    def now(self, location: str) -> str:
        """Returns where files of the experiment are now, by their recorded location: a path or URI for fsspec."""
        below = location.removeprefix(self.recorded)
        return _plain(location if below == location else f"{self.root}{below}")


def source_experiments(source: sa.Connection, folder: Path | None) -> list[tuple[dict[str, Any], str]]:
    """Returns the rows of the source's experiments, each with the path or URI where its files are now.

    Args:
        source: a connection to the source's database.
        folder: the folder of the source's database; None if that is not a file.

    Raises:
        UsageError: the files of an experiment that has runs cannot be found.
    """
    experiments, runs = table("experiments"), table("runs")
    used = set(source.scalars(sa.select(runs.c.experiment_id).distinct()))
    rows = [dict(row) for row in source.execute(sa.select(experiments)).mappings()]
    return [(row, _root(row, folder) if row["experiment_id"] in used else row["artifact_location"]) for row in rows]


def find_or_create_experiments(target: sa.Connection, found: list[tuple[dict[str, Any], str]]) -> list[Experiment]:
    """Finds each experiment in the target by its name, and creates those that are missing."""
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
    """Creates an experiment in the target, and returns the id that the database assigns to it."""
    experiments = table("experiments")
    values = {name: value for name, value in row.items() if name != "experiment_id"}
    new_id: int = target.execute(sa.insert(experiments).returning(experiments.c.experiment_id), values).scalar_one()
    change = sa.update(experiments).where(experiments.c.experiment_id == new_id)
    target.execute(change.values(artifact_location=f"{SERVED}{new_id}"))
    return new_id


def _root(row: dict[str, Any], folder: Path | None) -> str:
    """Returns where an experiment's files are: at the recorded location or, failing that, beside the database.

    They are beside it if the whole folder has been moved, for instance from another machine.
    """
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
    """Converts a local URI to a path, since fsspec would take `%20` for three characters; leaves others as they are."""
    if not location.startswith("file:"):
        return location
    return str(local_file_uri_to_path(location))  # type: ignore[no-untyped-call]
