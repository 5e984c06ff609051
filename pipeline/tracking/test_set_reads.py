"""How often a test set has been read: each look at it makes the next one's figure worth a little less.

Every run that reads test images is tagged with their digest before it does.
"""

from mlflow import MlflowClient
from mlflow.entities import ViewType

from pipeline.tracking.pages import all_pages
from pipeline.tracking.tracker import Tracker

TEST_SET_READ_TAG = "pipeline.test_opened"
"""Not "read", as everything here says: the runs of older stores have this tag, and have to be counted too."""


def record_test_set_read(tracker: Tracker, key: str, test_digest: str) -> None:
    """Tags the run `key`, and has it written before any test image is read.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    tracker.log(key, tags={TEST_SET_READ_TAG: test_digest})
    tracker.flush()


def count_test_set_reads(client: MlflowClient, test_digest: str) -> int:
    """The runs of this tracking store that have read these test images, in all experiments."""
    # All experiments, deleted ones too: deleting one does not undo a read.
    experiments = all_pages(lambda token: client.search_experiments(ViewType.ALL, page_token=token))
    ids = [experiment.experiment_id for experiment in experiments]
    condition = f"tags.`{TEST_SET_READ_TAG}` = '{test_digest}'"
    return sum(1 for _ in all_pages(lambda token: client.search_runs(ids, condition, page_token=token)))
