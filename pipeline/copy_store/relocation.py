"""Adapts rows to the target, where the ids of experiments and data sets and the locations of files are different."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline.copy_store.experiments import SERVED, Experiment
from pipeline.copy_store.tables import table
from pipeline.errors import UsageError

Row = dict[str, Any]


@dataclass(frozen=True)
class ArtifactFolder:
    """The files of a run or of a logged model."""

    recorded: str
    """Where they are according to the source's rows: a path or URI."""
    now: str
    """Where they are now: a path or URI."""
    path: str
    """Their path within the server's artifacts."""
    is_in_target: bool
    """Whether the target has the run or the model already; its files there are then kept, even if they have changed."""


class Relocation:
    """Maps ids and locations of the source to those of the target."""

    def __init__(self, source: sa.Connection, target: sa.Connection, experiments: list[Experiment]) -> None:
        """Raises UsageError if the files of a model version belong to no run or model of the source."""
        self._experiments = {each.old_id: each for each in experiments}
        self.folders = list(self._folders(source, target))
        self._paths = {folder.recorded: folder.path for folder in self.folders}
        self._datasets = dict(self._present_datasets(source, target))
        self._locations = {location: self._moved_location(location) for location in self._version_locations(source)}

    def row(self, table_name: str, row: Row) -> Row:
        """Returns the row as it should be in the target."""
        moved = dict(row)
        if "experiment_id" in row:
            moved["experiment_id"] = self._experiments[row["experiment_id"]].new_id
        if table_name == "runs":
            moved["artifact_uri"] = f"{SERVED}{self._paths[row['artifact_uri']]}"
        elif table_name == "logged_models":
            moved["artifact_location"] = f"{SERVED}{self._paths[row['artifact_location']]}"
        elif table_name == "model_versions":
            moved |= {name: self._locations.get(row[name], row[name]) for name in ("source", "storage_location")}
        elif table_name == "datasets":
            moved["dataset_uuid"] = self._datasets.get(row["dataset_uuid"], row["dataset_uuid"])
        elif table_name == "inputs" and row["source_type"] == "DATASET":
            moved["source_id"] = self._datasets.get(row["source_id"], row["source_id"])
        return moved

    def _folders(self, source: sa.Connection, target: sa.Connection) -> Iterator[ArtifactFolder]:
        runs, models = table("runs").c, table("logged_models").c
        for below, its_id, location, its_experiment in (
            ("", runs.run_uuid, runs.artifact_uri, runs.experiment_id),
            ("models/", models.model_id, models.artifact_location, models.experiment_id),
        ):
            ids_in_target = set(target.scalars(sa.select(its_id)))
            for name, recorded, experiment_id in source.execute(sa.select(its_id, location, its_experiment)):
                experiment = self._experiments[experiment_id]
                path = f"{experiment.new_id}/{below}{name}/artifacts"
                yield ArtifactFolder(recorded, experiment.now(recorded), path, name in ids_in_target)

    def _present_datasets(self, source: sa.Connection, target: sa.Connection) -> Iterator[tuple[str, str]]:
        """Yields, for each data set that the target has already, its id in the source and its id in the target.

        Data sets of the same experiment are the same if their names and digests are.
        """
        datasets = table("datasets")
        wanted = sa.select(*datasets.c["experiment_id", "name", "digest", "dataset_uuid"])
        there = {tuple(row[:3]): row.dataset_uuid for row in target.execute(wanted)}
        for row in source.execute(wanted):
            key = (self._experiments[row.experiment_id].new_id, row.name, row.digest)
            if key in there:
                yield row.dataset_uuid, there[key]

    def _version_locations(self, source: sa.Connection) -> set[str]:
        versions = table("model_versions")
        rows = source.execute(sa.select(*versions.c["source", "storage_location"]))
        return {location for row in rows for location in row if location}

    def _moved_location(self, location: str) -> str:
        """Returns the target's location of a version's files, which are all or some files of a run or a model."""
        if location.startswith(("models:/", "runs:/")):
            return location
        for recorded, path in self._paths.items():
            if f"{location}/".startswith(f"{recorded}/"):
                return f"{SERVED}{path}{location.removeprefix(recorded)}"
        raise UsageError(f"--from has a model version in {location}, which is of no run and no model there")
