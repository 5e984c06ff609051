"""How often a test set has been read: each look at it makes the next one's figure worth a little less.

Every run that reads test images is tagged with their digest before it does.
"""

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Experiment, ViewType

from pipeline.tracking.tracker import Tracker

TEST_SET_READ_TAG = "pipeline.test_opened"


def record_test_set_read(tracker: Tracker, key: str, test_digest: str) -> None:
    """Tags the run `key`, and has it written before any test image is read.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    tracker.log(key, tags={TEST_SET_READ_TAG: test_digest})
    tracker.flush()


def count_test_set_reads(client: MlflowClient, test_digest: str) -> int:
    """The runs of this tracking store that have read these test images, in all experiments."""
    experiments = [experiment.experiment_id for experiment in _experiments(client)]
    count, token = 0, None
    while True:
        page = client.search_runs(experiments, f"tags.`{TEST_SET_READ_TAG}` = '{test_digest}'", page_token=token)
        count, token = count + len(page), page.token
        if not token:
            return count


def _experiments(client: MlflowClient) -> Iterator[Experiment]:
    """All of them, deleted ones too: what was seen was seen."""
    token = None
    while True:
        page = client.search_experiments(ViewType.ALL, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
