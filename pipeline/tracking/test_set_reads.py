"""Counts how often a test set has been read: each read makes the next result on it a little less trustworthy.

Every run that reads test images is tagged with their digest before it reads them.
"""

from mlflow import MlflowClient
from mlflow.entities import ViewType

from pipeline.tracking.pages import all_pages
from pipeline.tracking.tracker import Tracker

TEST_SET_READ_TAG = "pipeline.test_opened"
"""Not "read", the word used elsewhere: the runs of older stores have this tag, and must be counted too."""


def record_test_set_read(tracker: Tracker, key: str, test_digest: str) -> None:
    """Tags the run `key`, and waits until the tag is written; call it before any test image is read.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    tracker.log(key, tags={TEST_SET_READ_TAG: test_digest})
    tracker.flush()


def count_test_set_reads(client: MlflowClient, test_digest: str) -> int:
    """Returns how many runs of this tracking store, in all experiments, have read these test images."""
    # Deleted runs and experiments count too: deleting one does not undo a read.
    experiments = all_pages(lambda token: client.search_experiments(ViewType.ALL, page_token=token))
    ids = [experiment.experiment_id for experiment in experiments]
    condition = f"tags.`{TEST_SET_READ_TAG}` = '{test_digest}'"
    return sum(1 for _ in all_pages(lambda token: client.search_runs(ids, condition, ViewType.ALL, page_token=token)))
