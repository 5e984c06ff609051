"""Tests that the reads of a test set are counted, on a real SQLite store."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.tracking.test_set_reads import TEST_SET_READ_TAG, count_test_set_reads


class SmallPages(MlflowClient):
    """A client that fetches runs in pages of two."""

    def search_runs(self, *arguments: Any, **options: Any) -> Any:
        return super().search_runs(*arguments, **{**options, "max_results": 2})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('reads')}/mlflow.db")


def open_test(client: MlflowClient, experiment: str, digest: str, count: int = 1) -> list[str]:
    """Creates runs that have read these images, and their experiment if it is missing; returns the runs' ids."""
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    tags = {TEST_SET_READ_TAG: digest}
    return [client.create_run(experiment_id, tags=tags).info.run_id for _ in range(count)]


def test_a_test_set_that_nobody_read(client: MlflowClient) -> None:
    assert count_test_set_reads(client, "sha256:never") == 0


def test_set_reads_of_all_experiments_count_and_those_of_other_images_do_not(client: MlflowClient) -> None:
    open_test(client, "vit-a", "sha256:one", 2)
    open_test(client, "vit-b", "sha256:one")
    open_test(client, "vit-b", "sha256:on")
    open_test(client, "vit-b", "sha256:one more")
    client.create_run("0", tags={"another": "sha256:one"})
    assert count_test_set_reads(client, "sha256:one") == 3


def test_a_read_counts_however_its_run_ended(client: MlflowClient) -> None:
    for run_id, status in zip(open_test(client, "vit-a", "sha256:ends", 3), ("FAILED", "KILLED"), strict=False):
        client.set_terminated(run_id, status)
    assert count_test_set_reads(client, "sha256:ends") == 3


def test_deleting_a_run_or_its_experiment_undoes_no_read(client: MlflowClient) -> None:
    first, _ = open_test(client, "vit-deleted", "sha256:gone", 2)
    experiment = client.get_run(first).info.experiment_id
    client.delete_run(first)
    assert count_test_set_reads(client, "sha256:gone") == 2
    client.delete_experiment(experiment)
    assert count_test_set_reads(client, "sha256:gone") == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_page_is_left_out(client: MlflowClient, count: int) -> None:
    digest = f"sha256:pages-{count}"
    open_test(client, "vit-pages", digest, count)
    assert count_test_set_reads(SmallPages(client.tracking_uri), digest) == count


def test_a_new_store_has_no_reads(tmp_path: Path) -> None:
    assert count_test_set_reads(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"), "sha256:one") == 0
