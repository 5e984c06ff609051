"""Sets MLflow up as the commands do, and keeps tracking URIs from leaking, from the user or from another test."""

import os
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from pipeline.tracking.server import prepare_mlflow
from tests.tracking_uri import VARIABLE, tracking_uri_undone

S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything"}

LONGEST_FILES = (
    "test_team_server.py", "test_train.py", "test_faults_driver.py", "test_sweep.py", "test_stages.py",
    "test_fused_search.py", "test_gpu_benchmark.py", "test_distributed_trials.py", "test_faults_tracking.py",
    "test_cifar10.py",
)  # fmt: skip
"""The files that take longest. They run first: a process that began one of them last would still be running it when the
other processes have nothing left to do."""

prepare_mlflow()
os.environ.pop(VARIABLE, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    position = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: position.get(item.path.name, len(position)))


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
