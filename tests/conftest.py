"""Sets MLflow up as the commands do, and keeps tracking URIs from leaking, from the user or from another test."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Lock
from urllib.request import Request, urlopen

import mlflow.store.db.utils
import pytest
from sqlalchemy import Engine, create_engine

from pipeline.tracking.server import prepare_mlflow
from tests.tracking_uri import VARIABLE, tracking_uri_undone

S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything"}

LONGEST_FILES = (
    "test_train.py", "test_fused_search.py", "test_faults_driver.py", "test_sweep.py", "test_team_server.py",
    "test_search_time.py", "test_stages.py", "test_gpu_benchmark.py", "test_faults_tracking.py", "test_cifar10.py",
    "test_fit.py", "test_reproduce.py", "test_sweep_rivals.py", "test_sweep_s3.py", "test_watchdog.py",
    "test_distributed_trials.py",
)  # fmt: skip
"""The files that take longest. They run first: a process that began one of them last would still be running it when the
other processes have nothing left to do."""

prepare_mlflow()
os.environ.pop(VARIABLE, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    position = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: position.get(item.path.name, len(position)))


@pytest.fixture(scope="session", autouse=True)
def _new_stores_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Copies the tables of each new SQLite store from one that MLflow has made, since it takes a second to make them.

    Commands in processes of their own still have MLflow make them.
    """
    one_at_a_time = Lock()
    make_tables: Callable[[Engine], None] = mlflow.store.db.utils._initialize_tables
    template = tmp_path_factory.mktemp("tables") / "mlflow.db"

    def copy_tables(engine: Engine) -> None:
        if engine.dialect.name != "sqlite" or not engine.url.database:
            make_tables(engine)
            return
        with one_at_a_time:
            if not template.exists():
                made = create_engine(f"sqlite:///{template}")
                make_tables(made)
                made.dispose()
        with closing(sqlite3.connect(template)) as full, closing(sqlite3.connect(engine.url.database)) as empty:
            full.backup(empty)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.store.db.utils, "_initialize_tables", copy_tables)
        yield


@pytest.fixture(scope="module", autouse=True)
def _undo_after_module() -> Iterator[None]:
    with tracking_uri_undone():
        yield


@pytest.fixture(autouse=True)
def _undo_after_test() -> Iterator[None]:
    with tracking_uri_undone():
        yield


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A local Ray that all commands of a module share if they need none of their own, because a start takes seconds."""
    from pipeline.cluster.connection import connected

    with connected(None):
        yield


@pytest.fixture(scope="module")
def s3_bucket() -> Iterator[str]:
    """The URI of an empty bucket on an S3 server on this machine, to which the environment points as a user's would."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        cloudless = {"AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**S3_CREDENTIALS, **nowhere, **cloudless, "AWS_ENDPOINT_URL": endpoint}.items():
            patch.setenv(name, value)
        urlopen(Request(f"{endpoint}/sweeps", method="PUT")).close()
        S3FileSystem.clear_instance_cache()  # an instance keeps the environment that it was created in
        yield "s3://sweeps"
        S3FileSystem.clear_instance_cache()
    server.stop()
