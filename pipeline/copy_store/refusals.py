"""Checks whether a store can be copied, before anything is written."""

from collections.abc import Iterator

import sqlalchemy as sa
from mlflow.store.db.base_sql_model import Base

from pipeline.copy_store.experiments import SERVED
from pipeline.copy_store.tables import COPIED, WITHOUT_RECORDS, table
from pipeline.errors import UsageError


def refuse_unfit(source: sa.Connection, target: sa.Connection) -> None:
    """Raises UsageError, with the first reason found, if the source cannot be copied into the target."""
    for reason in _reasons(source, target):
        raise UsageError(reason)


def uncopied(source: sa.Connection) -> dict[str, int]:
    """Returns how many rows of the source are not copied, by table: traces, evaluation data sets and the like."""
    others = Base.metadata.tables.keys() - COPIED - WITHOUT_RECORDS
    counts = {name: source.scalar(sa.select(sa.func.count()).select_from(table(name))) or 0 for name in sorted(others)}
    return {name: count for name, count in counts.items() if count}


def _reasons(source: sa.Connection, target: sa.Connection) -> Iterator[str]:
    version = sa.text("SELECT version_num FROM alembic_version")
    ours, theirs = source.scalar(version), target.scalar(version)
    if ours != theirs:
        yield (
            f"--from has MLflow's tables of revision {ours}, --to of {theirs}: bring the older up with "
            "`mlflow db upgrade URI`, after a backup"
        )
    runs, experiments = table("runs"), table("experiments")
    running = source.scalar(sa.select(sa.func.count()).where(runs.c.status == "RUNNING"))
    if running:
        yield f"--from has {running} runs that are RUNNING: let them end, or end dead ones by pipeline.doctor --fix"
    default = target.scalar(sa.select(experiments.c.artifact_location).where(experiments.c.experiment_id == 0))
    if not str(default).startswith(SERVED):
        yield f"the server on --to keeps artifacts in {default}: start it with --serve-artifacts before its first start"
    yield from _other_models(source, target)
    yield from _longer_runs(source, target)


def _longer_runs(source: sa.Connection, target: sa.Connection) -> Iterator[str]:
    """Yields a reason if runs that both stores have went on in the source: the target would get a half of each."""
    runs = table("runs")
    ours, theirs = (
        {run: end or 0 for run, end in connection.execute(sa.select(runs.c.run_uuid, runs.c.end_time))}
        for connection in (source, target)
    )
    longer = [run for run in sorted(ours.keys() & theirs.keys()) if ours[run] > theirs[run]]
    if longer:
        yield (
            f"--from has {len(longer)} runs that went on after they had been copied to --to, such as {longer[0]}: "
            "go on in --to, or copy into a new store"
        )


def _other_models(source: sa.Connection, target: sa.Connection) -> Iterator[str]:
    """Yields a reason for each model or version that both stores have, but that is not the same one in both.

    A version that both have must be the same one, since people and aliases refer to it by its number.
    """
    models, versions = table("registered_models"), table("model_versions")
    for what, key, same in (
        ("a model {0}", (models.c.name,), (models.c.creation_time,)),
        ("a version {1} of {0}", (versions.c.name, versions.c.version), (versions.c.run_id, versions.c.creation_time)),
    ):
        ours, theirs = (
            {tuple(row[: len(key)]): tuple(row[len(key) :]) for row in connection.execute(sa.select(*key, *same))}
            for connection in (source, target)
        )
        for found in sorted(ours.keys() & theirs.keys()):
            if ours[found] != theirs[found]:
                yield f"--to has {what.format(*found)} that is not the one of --from: rename one of the two models"
