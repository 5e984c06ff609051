"""MLflow's tables: which are copied, in which order, and how a database is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow.store.model_registry.dbmodels.models
import mlflow.store.tracking.dbmodels.models  # noqa: F401  (each import defines its part of the tables)
import sqlalchemy as sa
from mlflow.store.db.base_sql_model import Base

from pipeline.errors import PipelineError, UsageError

COPIED = frozenset(
    (
        "experiment_tags", "runs", "params", "tags", "metrics", "latest_metrics", "datasets", "inputs", "input_tags",
        "logged_models", "logged_model_params", "logged_model_metrics", "logged_model_tags", "registered_models",
        "registered_model_tags", "registered_model_aliases", "model_versions", "model_version_tags",
    )
)  # fmt: skip
"""The tables that trainings and the registry write, except that of the experiments, whose ids the target assigns."""
WITHOUT_RECORDS = frozenset(("experiments", "workspaces"))
"""Tables in which every store has rows, so that those are not counted as left behind."""


def table(name: str) -> sa.Table:
    """Returns one of MLflow's tables, by its name in the database."""
    found: sa.Table = Base.metadata.tables[name]
    return found


def copied_tables() -> list[sa.Table]:
    """Returns the tables to copy, each after the tables that its rows refer to."""
    return [each for each in Base.metadata.sorted_tables if each.name in COPIED]


@contextmanager
def opened(flag: str, uri: str) -> Iterator[sa.Engine]:
    """Opens a database that MLflow has set up, until the block ends.

    Raises:
        UsageError: the URI is not that of a database, or the database holds no MLflow store.
        PipelineError: the database cannot be opened, or fails within the block.
    """
    _refuse_no_database(flag, uri)
    try:
        engine = sa.create_engine(uri)
    except (sa.exc.SQLAlchemyError, ImportError) as error:  # no such kind of database; its driver is not installed
        raise _unusable(flag, uri, error) from error
    try:
        if not sa.inspect(engine).has_table("alembic_version"):
            raise UsageError(f"{flag} is {uri}, but MLflow has no tables there: start the server on it once")
        yield engine
    except sa.exc.SQLAlchemyError as error:
        raise _unusable(flag, uri, error) from error
    finally:
        engine.dispose()


def _unusable(flag: str, uri: str, error: Exception) -> PipelineError:
    return PipelineError(f"{flag} is {uri}, which cannot be used: {getattr(error, 'orig', None) or error}")


def _refuse_no_database(flag: str, uri: str) -> None:
    if uri.startswith(("http://", "https://")):
        raise UsageError(
            f"{flag} is {uri}, but must be the server's database, such as postgresql+psycopg2:///mlflow: through the "
            "server itself every run would get a new id"
        )
    try:
        url = sa.make_url(uri)
    except sa.exc.ArgumentError as error:
        raise UsageError(f"{flag} is {uri}, but must be a database's URI, such as sqlite:///mlflow.db") from error
    # SQLite would create an empty database.
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise UsageError(f"{flag} is {uri}, but there is no such database")
