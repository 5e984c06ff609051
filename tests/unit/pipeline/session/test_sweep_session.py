"""Which slots a search has beside the baseline, where trials share GPUs and where they do not."""

import threading
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from pipeline.cluster.allotment import Allotment
from pipeline.cluster.connection import connected
from pipeline.config import SweepConfig
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession
from pipeline.training.training import TrainingData
from vit.data.dataset import DataConfig
from vit.data.normalisation import measure_normalisation


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SweepSession]:
    folder = tmp_path_factory.mktemp("session")
    config = SweepConfig(
        data=DataConfig("digits", train_limit=50), storage=str(folder), tracking_uri=f"sqlite:///{folder}/mlflow.db"
    )
    with open_session(SweepSession, config, Console()) as session:
        yield session
        session.tracker.close()


@pytest.fixture
def session(opened: SweepSession) -> Iterator[SweepSession]:
    yield opened
    opened.release_baseline_slots()
    opened.audit_ended.set()
    opened.interrupt.requested = False


def waits(wait: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("gpus", [0.0, 1.0, 2.0])
def test_the_baseline_takes_a_trials_slot_and_the_search_waits_for_nothing(session: SweepSession, gpus: float) -> None:
    session._allotment = Allotment(1, gpus, concurrent=4)
    session.hold_slots_for_baseline()
    assert session.free_slots == 3
    session.wait_for_baseline()
    session.release_baseline_slots()
    assert session.free_slots == 4


@pytest.mark.parametrize(("gpus", "concurrent", "free"), [(0.5, 16, 14), (0.25, 8, 4), (0.3, 6, 2)])
def test_where_trials_share_gpus_the_baseline_has_a_whole_one_before_they_begin(
    session: SweepSession, gpus: float, concurrent: int, free: int
) -> None:
    """Halves on every GPU, which reused processes never give back, would leave it none until the search has ended."""
    session._allotment = Allotment(1, gpus, concurrent)
    session.hold_slots_for_baseline()
    assert session.free_slots == free
    waiting = waits(session.wait_for_baseline)
    waiting.join(0.5)
    assert waiting.is_alive()
    session.baseline_trains.set()
    waiting.join(10)
    assert not waiting.is_alive()


def test_on_a_single_shared_gpu_the_search_begins_when_the_baseline_is_over(session: SweepSession) -> None:
    session._allotment = Allotment(1, 0.5, concurrent=2)
    session.hold_slots_for_baseline()
    session.baseline_trains.set()
    waiting = waits(session.wait_for_baseline)
    waiting.join(0.5)
    assert waiting.is_alive()
    session.release_baseline_slots()
    waiting.join(10)
    assert not waiting.is_alive()
    assert session.free_slots == 2


def test_who_wants_to_stop_does_not_wait(session: SweepSession) -> None:
    session._allotment = Allotment(1, 0.5, concurrent=2)
    session.hold_slots_for_baseline()
    waiting = waits(session.wait_for_baseline)
    session.interrupt.requested = True
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize("ended", ["over", "interrupted"])
def test_where_trials_share_gpus_the_finalists_wait_for_the_audit(session: SweepSession, ended: str) -> None:
    """Its fractions would leave them no whole ones, and nor would they leave one to the evaluation."""
    session._allotment = Allotment(1, 0.5, concurrent=4)
    session.audit_ended.clear()
    waiting = waits(session.wait_for_audit)
    waiting.join(0.5)
    assert waiting.is_alive()
    if ended == "over":
        session.audit_ended.set()
    else:
        session.interrupt.requested = True
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize("gpus", [0.0, 1.0, 2.0])
def test_where_none_are_shared_the_finalists_train_beside_the_audit(session: SweepSession, gpus: float) -> None:
    session._allotment = Allotment(1, gpus, concurrent=4)
    session.audit_ended.clear()
    session.wait_for_audit()


@pytest.mark.slow
def test_the_images_go_into_the_object_store_once(session: SweepSession) -> None:
    data = session.dataset
    splits = TrainingData(data.train, data.validation, measure_normalisation(data.train.images), data.class_names)
    with connected(None):
        shared = session.share(splits)
        assert session.share(splits) is shared
        read = shared.get()
        assert (read.train.images == data.train.images).all()
        assert not read.train.images.flags.writeable  # the store's own memory, and no copy
