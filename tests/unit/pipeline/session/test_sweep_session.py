"""Tests of what a sweep's session decides: a search's slots beside the baseline, its precision, its identity."""

import math
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.search.sample import Domain
from rich.console import Console

from pipeline.cluster.allotment import Allotment
from pipeline.cluster.connection import connected
from pipeline.config import SweepConfig
from pipeline.session.lifecycle import open_session
from pipeline.session.sweep_session import SweepSession, rungs_of, search_settings
from pipeline.training import precision as measuring
from pipeline.training.training import TrainingData
from tune_spaces.catalogue import SPACES
from tune_spaces.space import Domains, Space
from vit.data.dataset import DataConfig, Dataset, load_dataset
from vit.data.normalisation import measure_normalisation
from vit.model.config import ViTConfig
from vit.model.work import flops_per_image
from vit.training.precision import Precision


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


def assert_ends(waiting: threading.Thread) -> None:
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize("gpus", [0.0, 1.0, 2.0])
def test_the_baseline_takes_a_trials_slot_and_the_search_waits_for_nothing(session: SweepSession, gpus: float) -> None:
    session._allotment = Allotment(1, gpus, concurrent=4)
    session.hold_slots_for_baseline()
    assert session.free_slots == 3
    assert_ends(waits(session.wait_for_baseline))
    session.release_baseline_slots()
    assert session.free_slots == 4


@pytest.mark.parametrize(("gpus", "concurrent", "free"), [(0.5, 16, 14), (0.25, 8, 4), (0.3, 6, 2)])
def test_where_trials_share_gpus_the_baseline_has_a_whole_one_before_they_begin(
    session: SweepSession, gpus: float, concurrent: int, free: int
) -> None:
    """Reused processes keep their fractions of GPUs, so no whole GPU would be left until the search has ended."""
    session._allotment = Allotment(1, gpus, concurrent)
    session.hold_slots_for_baseline()
    assert session.free_slots == free
    waiting = waits(session.wait_for_baseline)
    waiting.join(0.5)
    assert waiting.is_alive()
    session.baseline_trains.set()
    assert_ends(waiting)


def test_on_a_single_shared_gpu_the_search_begins_when_the_baseline_is_over(session: SweepSession) -> None:
    session._allotment = Allotment(1, 0.5, concurrent=2)
    session.hold_slots_for_baseline()
    session.baseline_trains.set()
    waiting = waits(session.wait_for_baseline)
    waiting.join(0.5)
    assert waiting.is_alive()
    session.release_baseline_slots()
    assert_ends(waiting)
    assert session.free_slots == 2


def test_who_wants_to_stop_does_not_wait(session: SweepSession) -> None:
    session._allotment = Allotment(1, 0.5, concurrent=2)
    session.hold_slots_for_baseline()
    waiting = waits(session.wait_for_baseline)
    session.interrupt.requested = True
    assert_ends(waiting)


@pytest.mark.parametrize("ended", ["over", "interrupted"])
def test_where_trials_share_gpus_the_finalists_wait_for_the_audit(session: SweepSession, ended: str) -> None:
    """The audit's fractions of GPUs would leave no whole GPUs for the finalists, and none for the evaluation."""
    session._allotment = Allotment(1, 0.5, concurrent=4)
    session.audit_ended.clear()
    waiting = waits(session.wait_for_audit)
    waiting.join(0.5)
    assert waiting.is_alive()
    if ended == "over":
        session.audit_ended.set()
    else:
        session.interrupt.requested = True
    assert_ends(waiting)


@pytest.mark.parametrize("gpus", [0.0, 1.0, 2.0])
def test_where_none_are_shared_the_finalists_train_beside_the_audit(session: SweepSession, gpus: float) -> None:
    session._allotment = Allotment(1, gpus, concurrent=4)
    session.audit_ended.clear()
    assert_ends(waits(session.wait_for_audit))


def probed(session: SweepSession, monkeypatch: pytest.MonkeyPatch, allotment: Allotment) -> tuple[ViTConfig, int]:
    """Returns the model, and the images per worker and step, with which the session has the precision measured."""
    asked = []

    def probe(model: ViTConfig, batch_size: int, *where: object) -> Precision:
        asked.append((model, batch_size))
        return "bf16"

    monkeypatch.setattr(measuring, "_probe", probe)
    monkeypatch.setattr(ray, "remote", lambda **resources: lambda task: SimpleNamespace(remote=task))
    monkeypatch.setattr(ray, "get", lambda choice: choice)
    monkeypatch.setattr(session, "_precision", None)
    monkeypatch.setattr(session.memory, "remembered", lambda name: None)
    session._allotment = allotment
    assert session.precision == "bf16"
    ((model, batch_size),) = asked
    return model, batch_size


def test_on_a_gpu_the_precision_is_chosen_for_the_dearest_training(
    session: SweepSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch_size = probed(session, monkeypatch, Allotment(1, 1.0, concurrent=4))
    costs = [flops_per_image(spec.model) * spec.recipe.batch_size for spec in session.specs]
    assert flops_per_image(model) * batch_size == max(costs) > costs[0]
    _, share = probed(session, monkeypatch, Allotment(1, 1.0, concurrent=4, workers=3))
    assert share == math.ceil(batch_size / 3)


def test_on_a_cpu_it_is_chosen_for_the_published_one(session: SweepSession, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = probed(session, monkeypatch, Allotment(1, 0.0, concurrent=4))
    assert model == session.specs[0].model


@pytest.mark.slow
def test_the_images_go_into_the_object_store_once(session: SweepSession) -> None:
    data = session.dataset
    splits = TrainingData(data.train, data.validation, measure_normalisation(data.train.images), data.class_names)
    with connected(None):
        shared = session.share(splits)
        assert session.share(splits) is shared
        read = shared.get()
        assert (read.train.images == data.train.images).all()
        assert not read.train.images.flags.writeable  # they are in the store's own memory, and not a copy


# What identifies a search


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DataConfig("digits", train_limit=50))


Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Returns a function that gives the settings of a search over the given domains and the number of blocks."""

    def settings_of(domains: Domains, **options: Any) -> dict[str, Any]:
        space = Space("x", 3, lambda shape: {"depth": tune.randint(1, 3), **domains})
        monkeypatch.setitem(SPACES, "x", space)
        config = SweepConfig(data=DataConfig("digits"), space="x", **options)
        return search_settings(config, digits, space, rungs_of(config, space))

    return settings_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (tune.choice([0, 1]), tune.choice([0.0, 1.0])),
        (tune.uniform(0.1, 0.2), tune.uniform(0.1, 0.2 + 1e-9)),
        (tune.sample_from(lambda config: 0.1), tune.sample_from(lambda config: 0.2)),
    ],
)
def test_searches_of_other_trials_have_other_settings(settings: Settings, one: Domain, other: Domain) -> None:
    before, after = settings({"weight_decay": one}), settings({"weight_decay": other})
    assert {name for name in before if before[name] != after[name]} == {"digest of the trials"}


def test_a_search_is_known_by_what_its_function_draws_and_not_by_which_object_that_is(settings: Settings) -> None:
    assert settings({"weight_decay": tune.sample_from(lambda config: 0.1)}) == settings(
        {"weight_decay": tune.sample_from(lambda config: 0.1)}
    )


@pytest.mark.parametrize(("fewer", "more"), [(2, 3), (40, 90)])
def test_more_trials_of_the_same_search_go_on_in_its_folder(digits: Dataset, fewer: int, more: int) -> None:
    one, other = (SweepConfig(data=DataConfig("digits"), trials=count) for count in (fewer, more))
    assert SweepSession.identity(one, digits) == SweepSession.identity(other, digits)
    ours, others = (
        search_settings(each, digits, SPACES["small"], rungs_of(each, SPACES["small"])) for each in (one, other)
    )
    assert ours != others
